"""From a file to a :class:`~schemas.media.DecodedVideo`: sampled frames and sound."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from actors.decoding.allowance import Allowance
from actors.decoding.edits import stands_still
from actors.decoding.extent import (
    Extent,
    check_complete,
    check_length,
    is_animated_webp,
    span_of,
)
from actors.decoding.pictures import Pictures, decode_pictures
from actors.decoding.probe import (
    BAD_DATA,
    Source,
    header_duration,
    header_start,
    open_source,
)
from actors.decoding.reading import LIST_PRICES, ReadingCosts
from actors.decoding.sample_index import SampleTable, extent_of, read_tables, schedule_from
from actors.decoding.scan import scan
from actors.decoding.schedule import Schedule
from actors.decoding.sound import LEAD_SEC, TAIL_SEC, SoundTrack, decode_sound
from actors.storage.range_reader import RangeReader
from schemas.budget import SHORTEST_SOUND_SEC, Budget
from schemas.errors import (
    CorruptMediaError,
    NoMediaStreamError,
    UnsupportedCodecError,
    VideoError,
)
from schemas.media import WHOLE, DecodedVideo, DecodeLimits, SamplingPlan, Segment, VideoInfo


def decode(
    reader: RangeReader,
    plan: SamplingPlan,
    limits: DecodeLimits,
    costs: ReadingCosts = LIST_PRICES,
    budget: Budget | None = None,
    segment: Segment = WHOLE,
) -> DecodedVideo:
    """Decode what ``plan`` wants of a file; as :class:`VideoFile`, which is not kept."""
    with VideoFile(reader, limits, costs, parts=segment != WHOLE) as file:
        return file.decode(plan, budget, segment)


class VideoFile(contextlib.AbstractContextManager["VideoFile"]):
    """An open file, of which all or several segments are decoded: its index is read once.

    Args:
        reader: the file, from :func:`actors.storage.access.open_range`.
        limits: pixels and duration; wall time and memory are the sandbox's to enforce.
        costs: decide which of the bytes between the needed ones are read.
        parts: whether segments are to be decoded: then the file may be of any length.

    Attributes:
        source: the open container.

    Raises:
        OpenError: not a media file, or the storage fails.
        DecodeError: nothing to decode, no decoder, or over the limits.
    """

    def __init__(
        self, reader: RangeReader, limits: DecodeLimits, costs: ReadingCosts, *, parts: bool
    ) -> None:
        self._reader = reader
        self._limits = limits
        self._of_file = limits
        if parts:
            self._of_file = limits.model_copy(update={"max_duration_sec": math.inf})
        self.source = open_source(reader, self._of_file, costs)
        self._requests = self._bytes_read = 0
        self._content: Content | None = None
        self._warnings = list(self.source.warnings)

    def __exit__(self, *_: object) -> None:
        """Close the file, but not its reader."""
        self.source.container.close()

    def decode(
        self, plan: SamplingPlan, budget: Budget | None = None, segment: Segment = WHOLE
    ) -> DecodedVideo:
        """Decode what ``plan`` wants.

        Args:
            plan: which frames, how large, and whether sound.
            budget: what the model can be shown; None where no model is to see it.
            segment: of the file. Of its picture the frames that are shown in it, of its sound
                what is heard in it, to the sample.

        Raises:
            OpenError: the storage fails.
            MemoryError: out of memory; the sandbox makes it a DecoderCrashedError.
            DecodeError: nothing decodes, over the limits, or none of the segment is there.
        """
        source = self.source
        self._begin_again()
        allowance = Allowance(source, plan, self._limits, budget, segment)
        with self.errors_told():
            video = self._decode(plan, allowance, segment)
        reader = self._reader
        video = replace(
            video,
            info=replace(
                video.info,
                requests=reader.requests - self._requests,
                bytes_read=reader.bytes_read - self._bytes_read,
            ),
        )
        self._requests, self._bytes_read = reader.requests, reader.bytes_read
        return video

    def locate(self, segment: Segment) -> Part:
        """Find out where a segment lies. Raises as :meth:`decode`."""
        source = self.source
        self._begin_again()
        content = self._content or self._look(None)
        schedule, extent = content.schedule, content.extent_for(source, sound=True)
        _check_clock(source, schedule)
        start = schedule.start if schedule is not None else header_start(source)
        if segment != WHOLE:
            span = span_of(source, segment, schedule, extent, start)
            return Part(content=content, start=start, begin=span[0], end=span[1], is_whole=False)
        check_complete(source, extent)
        picture_sec = 0.0 if schedule is None else schedule.timeline.duration
        sound_sec = 0.0 if extent.sound_end is None else extent.sound_end - start
        end = max(picture_sec, sound_sec)
        return Part(content=content, start=start, begin=0.0, end=end, is_whole=True)

    @contextlib.contextmanager
    def errors_told(self) -> Iterator[None]:
        """Make FFmpeg's errors about the data errors of the video, and tell its warnings."""
        try:
            try:
                yield
            except BAD_DATA as error:
                reason = error.strerror or _reason(self.source)
                raise CorruptMediaError(f"cannot be decoded: {reason}") from None
        except VideoError as error:
            error.warnings = self.source.warnings
            raise

    def _begin_again(self) -> None:
        """Forget what an earlier segment had to say."""
        self.source.warnings[:] = self._warnings
        if self._content is not None:
            self.source.forget_log()

    def _decode(self, plan: SamplingPlan, allowance: Allowance, segment: Segment) -> DecodedVideo:
        source = self.source
        if source.video is None and plan.audio_rate is None:
            # A model that is shown nothing writes a caption all the same.
            raise NoMediaStreamError("the file has no picture, and the plan takes no sound")
        if source.audio is None and plan.num_frames == 0:
            raise NoMediaStreamError("the file has no sound, and the plan takes no picture")
        track, expected, whole = None, allowance.by_header(), segment == WHOLE
        if source.audio is not None and expected.plan.audio_rate is not None:
            begin, end = segment.within(header_duration(source))
            track = SoundTrack(
                rate=expected.plan.audio_rate,
                start=header_start(source),
                seconds=end - begin,
                check=allowance.longer_sound,
                warn=source.warn,
            )
        content = self._content or self._look(track if whole else None)
        schedule, extent = content.schedule, content.extent_for(source, sound=track is not None)
        _check_clock(source, schedule)
        start = schedule.start if schedule is not None else header_start(source)
        span = None if whole else span_of(source, segment, schedule, extent, start)
        fitting = allowance.by_content(expected, schedule, extent)
        if track is not None and fitting.plan.audio_rate is not None:
            if span is not None:
                read_span(source, content, track, start + span[0], start + span[1])
            elif content.tables is not None:
                _read_sound(source, content.tables, track)
        plan = fitting.plan
        if source.last_log():
            source.warn(f"the file is damaged: {source.last_log()}")
        pictures = None
        if schedule is not None and plan.num_frames != 0:
            pictures = decode_pictures(source, schedule, plan, span)
        audio = None
        if track is not None and plan.audio_rate is not None:
            samples = track.finish(start if span is None else start + span[0])
            if samples is not None and span is not None:
                samples = samples[: round((span[1] - span[0]) * plan.audio_rate)]
            audio = None if samples is None else samples[:, 0]
            if audio is None and track.packets:
                source.warn("not one sample of the sound can be decoded")
        if pictures is not None and not pictures.times:
            if is_animated_webp(source.reader):
                raise UnsupportedCodecError("no decoder for animated WebP")
            # A caption of the sound alone would hide the loss.
            raise CorruptMediaError(f"no frame of the picture can be decoded: {_reason(source)}")
        if pictures is None and audio is None:
            raise CorruptMediaError(f"no sample of the sound can be decoded: {_reason(source)}")
        if whole:
            check_complete(source, extent)
        if fitting.warning is not None:
            source.warn(fitting.warning)
        sound_sec = 0.0
        if audio is not None and plan.audio_rate is not None:
            sound_sec = len(audio) / plan.audio_rate
            if sound_sec < SHORTEST_SOUND_SEC and pictures is not None:
                source.warn(
                    f"{1000 * sound_sec:.0f} ms of sound are too short for a model: left out"
                )
                plan, audio = plan.model_copy(update={"audio_rate": None}), None
        elif plan.audio_rate is None and extent.sound_end is not None:
            sound_sec = extent.sound_end - start
        clip = _clip(source, schedule, pictures, audio, sound_sec, plan)
        info = replace(clip.info, window_sec=fitting.window_sec)
        if span is not None:
            info = replace(info, duration_sec=span[1] - span[0])
        return replace(clip, info=info)

    def _look(self, track: SoundTrack | None) -> Content:
        """What there is in the file, by its index or else by reading it, with the sound if there
        is a track for it.
        """
        source, schedule = self.source, None
        if source.container.format.name.startswith("mov") and stands_still(source.reader):
            source.warn("an edit list stops or changes the speed, and was not followed there")
        tables = read_tables(source)
        if tables is not None and source.video is not None:
            schedule = schedule_from(source, source.video, tables[source.video.index])
        if schedule is not None:
            self._content = Content(schedule=schedule, tables=tables)
        else:
            scanned = scan(source, self._of_file, track)
            self._content = Content(
                schedule=scanned.schedule, extent=scanned.extent, moves=scanned.moves
            )
        self._warnings = list(source.warnings)
        return self._content


@dataclass(frozen=True, kw_only=True)
class Content:
    """What there is in a file.

    Attributes:
        schedule: the picture's, None without a picture.
        tables: the index of each stream; None where the file was read instead, and then
            ``extent`` and ``moves`` are what that told.
    """

    schedule: Schedule | None
    tables: dict[int, SampleTable] | None = None
    extent: Extent | None = None
    moves: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def extent_for(self, source: Source, *, sound: bool) -> Extent:
        """How far the file goes; as :func:`actors.decoding.sample_index.extent_of`."""
        if self.extent is not None:
            return self.extent
        assert self.tables is not None
        return extent_of(source, self.tables, sound=sound)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A segment in its file, or all of the file.

    Attributes:
        content: of the file.
        start: time of the file's first frame on the container's clock, in seconds.
        begin, end: of the part, in seconds from the first frame.
    """

    content: Content
    start: float
    begin: float
    end: float
    is_whole: bool


def _read_sound(source: Source, tables: dict[int, SampleTable], track: SoundTrack) -> None:
    """Read the sound of an indexed file; the picture finds in the reader what lay between."""
    source.rewind()
    assert source.audio is not None
    table = tables[source.audio.index]
    source.expect(table.positions, table.sizes)
    for packet in source.packets(source.audio):
        decode_sound(source.audio, packet, track, source.warn)


def read_span(
    source: Source, content: Content, track: SoundTrack, begin: float, end: float
) -> None:
    """Read the sound of a span, given in seconds on the file's one clock, and some before it."""
    track.move(content.moves)
    assert source.audio is not None and source.audio.time_base is not None
    tick, early = float(source.audio.time_base), begin - LEAD_SEC
    if content.tables is not None:
        table = content.tables[source.audio.index]
        first, stop = np.searchsorted(table.stamps * tick, (early, end + TAIL_SEC)).tolist()
        first = max(0, first - 1)
        source.expect(table.positions[first : stop + 1], table.sizes[first : stop + 1])
        if first >= len(table.stamps) or not source.seek(table.stamps[first] * tick, source.audio):
            source.rewind()
    else:
        source.rewind()
    moves = content.moves
    for number, packet in enumerate(source.packets(source.audio)):
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is not None and packet.size:
            time = stamp * tick + (float(moves[min(number, len(moves) - 1)]) if len(moves) else 0.0)
            if time > end + TAIL_SEC:
                return
            if time < early:
                track.packets += 1
                continue
        decode_sound(source.audio, packet, track, source.warn)


def _check_clock(source: Source, schedule: Schedule | None) -> None:
    if schedule is not None:
        check_length(source, schedule.timeline)


def _reason(source: Source) -> str:
    return source.last_log() or "the streams hold no data"


def _clip(
    source: Source,
    schedule: Schedule | None,
    pictures: Pictures | None,
    audio: npt.NDArray[np.float32] | None,
    sound_sec: float,
    plan: SamplingPlan,
) -> DecodedVideo:
    video, sound = source.video, source.audio
    converter = pictures.converter if pictures is not None else None
    timeline = schedule.timeline if schedule is not None else None
    info = VideoInfo(
        duration_sec=max(timeline.duration if timeline is not None else 0.0, sound_sec),
        fps=timeline.rate if timeline is not None else 0.0,
        width=converter.width if converter is not None else 0,
        height=converter.height if converter is not None else 0,
        has_video=video is not None,
        has_audio=sound is not None,
        container=source.container.format.name,
        video_codec=video.codec_context.name if video is not None else "",
        audio_codec=sound.codec_context.name if sound is not None else "",
        rotation=converter.rotation if converter is not None else 0,
        bytes_stored=source.reader.size,
    )
    return DecodedVideo(
        info=info,
        frames=pictures.images if pictures is not None else np.empty((0, 0, 0, 3), np.uint8),
        timestamps=np.array(pictures.times if pictures is not None else [], dtype=np.float64),
        audio=audio,
        audio_rate=plan.audio_rate or 0 if audio is not None else 0,
        warnings=tuple(source.warnings),
        pack=pictures.pack if pictures is not None else None,
    )
