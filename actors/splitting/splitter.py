"""The callable of the graph that splits a video: decode it once, piece by piece."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import cv2
import pyarrow as pa

from actors.confinement.sandbox import DecodeSandbox
from actors.decoding.extent import is_past_end
from actors.room import Place
from actors.splitting.cuts import Cut, CutFinder
from actors.splitting.extras import is_installed
from actors.splitting.fades import SOFT, FadeFinder
from actors.splitting.scores import Watcher
from actors.stages import decoded_row, failure_of, tell_layers
from actors.storage.places import Places
from actors.storage.segments import fragment_of, segment_of
from actors.storage.uris import file_of, public_uri, split_segment
from schemas.blocks import packed, unpacked, video_of
from schemas.errors import NoMediaStreamError, SegmentError, VideoError
from schemas.media import WHOLE, DecodeLimits, SamplingPlan, StorageOptions
from schemas.splitting import SplitConfig
from schemas.tables import SPLITS, SegmentRow, splits_table

if TYPE_CHECKING:
    from actors.splitting.speech import SpeechDetector
    from actors.splitting.text import TextDetector
    from actors.splitting.transitions import Network, TransitionFinder

logger = logging.getLogger(__name__)

SPAN_SEC = 120.0
"""How much of a video is decoded at a time: its frames are held in memory."""

PIXELS = 14_400
"""Of a frame that is looked at: 160 by 90."""

READ_PIXELS = 230_400
"""Of a frame in which text is looked for: 640 by 360, where subtitles are a dozen pixels high."""

_SOUND_RATE = 16_000

_ANY_CHANGE = 1e-9
"""Where every frame is looked at; those between two that are the same to the bit are not needed."""


@dataclass(frozen=True)
class Detectors:
    """What takes an extra; None for what is not measured, or not asked for."""

    text: TextDetector | None = None
    speech: SpeechDetector | None = None
    transitions: Network | None = None

    @classmethod
    def installed(cls, config: SplitConfig) -> Detectors:
        """Those of the extras that are there. Raises as :func:`is_installed`."""
        text = speech = transitions = None
        if is_installed("text_area", config):
            from actors.splitting.text import TextDetector

            text = TextDetector()
        if is_installed("speech_share", config):
            from actors.splitting.speech import SpeechDetector

            speech = SpeechDetector()
        if config.cuts.detector is not None and is_installed(config.cuts.detector, config):
            from actors.splitting.transitions import Network

            transitions = Network("cuda" if config.gpus_per_actor else "cpu")
        return cls(text, speech, transitions)


class Splitter:
    """Ray Data callable: ``schemas.blocks.INPUTS`` -> ``schemas.tables.SPLITS``, both packed.

    Every error of a video becomes a row of ``failures``.

    Args:
        monitor, limits, storage, places, cpu_kind: as of :class:`actors.stages.Decoder`.
    """

    def __init__(
        self,
        *,
        monitor: Any,
        config: SplitConfig,
        limits: DecodeLimits,
        storage: StorageOptions,
        places: Places,
        cpu_kind: str = "",
    ) -> None:
        cv2.setNumThreads(1)  # an actor has one core
        self._monitor = monitor
        self._told = False
        self._place = Place(monitor, kind=cpu_kind)
        self._config = config
        self._detectors = Detectors.installed(config)
        self._places = places
        self._sandbox = DecodeSandbox(limits, storage)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Split each input of the batch; returns one row with all results."""
        inputs = [row for table in unpacked(batch) for row in table.to_pylist()]
        with self._place.working():
            made = [self._result(row) for row in inputs]
        return packed(pa.concat_tables(made or [SPLITS.empty_table()]))

    def _result(self, row: dict[str, Any]) -> pa.Table:
        try:
            self._places.check(file_of(row["uri"]))
            segments = split(self._sandbox, row, self._config, self._detectors)
        except Exception as error:
            if not isinstance(error, VideoError):
                logger.exception("unforeseen error while splitting %r", row["video_id"])
            self._monitor.receive.remote([row["video_id"]])
            return splits_table(row["video_id"], failures=[failure_of(row, error, stage="decode")])
        self._monitor.receive.remote([row["video_id"]], readable=1)
        if not self._told:
            tell_layers(self._sandbox, self._monitor)
        self._told = True
        return splits_table(row["video_id"], segments=segments)


def split(
    sandbox: DecodeSandbox,
    row: dict[str, Any],
    config: SplitConfig,
    detectors: Detectors = Detectors(),
) -> list[SegmentRow]:
    """The segments of an input, or of the part of a file that it is.

    Args:
        row: the columns of ``schemas.blocks.INPUTS``.

    Raises:
        VideoError: it cannot be decoded, or has no picture.
    """
    file, whole = split_segment(row["uri"])[0], segment_of(row["uri"]) or WHOLE
    plan = SamplingPlan(
        fps=config.cuts.fps,
        change=config.cuts.change if detectors.transitions is None else _ANY_CHANGE,
        max_pixels=PIXELS,
        audio_rate=_SOUND_RATE,
    )
    finder: CutFinder | TransitionFinder | None = None
    fades: FadeFinder | None = None
    watcher = Watcher(0.9 / config.cuts.fps, detectors.speech)
    warnings: dict[str, None] = {}
    begin = at = whole.begin
    while whole.end is None or at < whole.end:
        end = at + SPAN_SEC if whole.end is None else min(at + SPAN_SEC, whole.end)
        try:
            video = video_of(decoded_row(sandbox, file + fragment_of(at, end), plan))
        except SegmentError:
            if at == begin:
                raise
            break  # the video ends where the span before did
        warnings |= dict.fromkeys(each for each in video.warnings if not is_past_end(each))
        if not video.info.has_video:
            raise NoMediaStreamError("the file has no picture, and cannot be split by it")
        finder = finder or (
            CutFinder(config.cuts, video.info.fps)
            if detectors.transitions is None
            else detectors.transitions.finder(config.cuts)
        )
        fades = fades or FadeFinder(video.info.fps)
        for moment, frame in zip(video.timestamps.tolist(), video.frames, strict=True):
            finder.add(at - begin + moment, frame)
            fades.add(at - begin + moment, frame)
            watcher.look(at - begin + moment, frame)
        if video.audio is not None:
            watcher.listen(at - begin, video.audio, video.audio_rate)
        length = video.info.duration_sec
        is_last = length < end - at - _SHORT_SEC
        at = at + length if is_last else end
        if is_last:
            break
    assert finder is not None and fades is not None
    finder.finish()
    cuts = finder.cuts
    if config.cuts.fades:
        cuts = fades.joined(cuts, soft=0.0 if detectors.transitions is None else SOFT)
    seconds = at - begin
    columns = {
        "video_id": row["video_id"],
        "uri": public_uri(file),
        "duration_sec": seconds,
        "metadata": row["metadata"],
        "source_version": row["source_version"],
        "warnings": list(warnings),
    }
    made = []
    for index, (first, last) in enumerate(itertools.pairwise(bounds(cuts, seconds, config))):
        scores = watcher.scores(first.time, last.time)
        told = {
            "cut_score": first.score or None,
            "text_area": detectors.text
            and _text_area(sandbox, file, begin + first.time, begin + last.time, detectors.text),
            **asdict(scores),
        }
        reason = refusal(told, last.time - first.time, config)
        made.append(
            SegmentRow(
                **columns,
                **told,
                index=index,
                start_sec=begin + first.time,
                end_sec=begin + last.time,
                kept=reason is None,
                reason=reason,
            )
        )
    return made


def _text_area(
    sandbox: DecodeSandbox, file: str, begin: float, end: float, detector: TextDetector
) -> float | None:
    """Mean of three frames of a segment, which are decoded once more, large enough to be read; None
    where there are none.
    """
    edge = (end - begin) / 6
    plan = SamplingPlan(num_frames=3, max_pixels=READ_PIXELS)
    try:
        video = video_of(decoded_row(sandbox, file + fragment_of(begin + edge, end - edge), plan))
    except SegmentError:
        return None
    return fmean(map(detector.area, video.frames))


_SHORT_SEC = 1e-3
"""How much shorter than asked for a span is, at least, with which a video ends."""


def bounds(cuts: Sequence[Cut], seconds: float, config: SplitConfig) -> list[Cut]:
    """Where the segments of so many seconds begin, and where the last one ends; the score of what
    is no cut is 0.
    """
    ends = [Cut(0.0, 0.0), *(cut for cut in cuts if 0 < cut.time < seconds), Cut(seconds, 0.0)]
    found = []
    for first, last in itertools.pairwise(ends):
        parts = max(1, -int(-(last.time - first.time) // config.max_sec))
        length = (last.time - first.time) / parts
        found += [first, *(Cut(first.time + part * length, 0.0) for part in range(1, parts))]
    return [*found, ends[-1]]


def refusal(scores: dict[str, Any], seconds: float, config: SplitConfig) -> str | None:
    """Why a segment is not kept, all reasons in one; None where it is."""
    reasons = []
    if seconds < config.min_sec:
        reasons.append(f"{seconds:.2f} s are shorter than {config.min_sec:g} s")
    for name, wanted in config.filters.items():
        reasons.append(wanted.refusal(name, scores.get(name)) or "")
    return "; ".join(filter(None, reasons)) or None
