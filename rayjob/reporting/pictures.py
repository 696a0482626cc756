"""The frames and the sound that the model was given, decoded again for the page."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import ValidationError

from actors.confinement.sandbox import DecodeSandbox
from actors.storage.segments import segment_begin
from rayjob.evaluation.fields import field_of
from rayjob.recipes import find_recipe
from rayjob.reporting.reading import Part
from rayjob.reporting.runs import Run, read_config
from schemas.blocks import video_of
from schemas.errors import ConfigError, DecoderFaultError, VideoError
from schemas.media import DecodedVideo, DecodeLimits, SamplingPlan, StorageOptions

logger = logging.getLogger(__name__)

PAGE_BYTES = 12_000_000
"""Pictures of a whole page, as they stand in it."""

MAX_FRAMES = 32
"""Frames shown of one video; of more, evenly chosen ones."""

WAVE_BINS = 240

_EDGE = 176
"""Longer edge of a thumbnail in pixels."""

_QUALITY = 74
_MAX_DECODED = 256
"""Frames decoded for a plan by rate: of a long video no more than are needed to choose from."""

_DECODERS = 4
"""Videos opened at once: enough to hide the storage's latency."""

_FALLBACK = SamplingPlan(num_frames=8)


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """One frame.

    Attributes:
        seconds: its time in the video.
        source: the JPEG as a data: URI.
    """

    seconds: float
    source: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What is shown of a video.

    Attributes:
        seen: frames that were decoded.
        exact: whether they are those that the model was given.
        wave: loudest sample of each of WAVE_BINS equal parts of the sound, 0 to 1; empty
            without sound.
        sound_sec: length of the sound.
        problem: why there are no frames, "" if there are some.
    """

    thumbnails: tuple[Thumbnail, ...] = ()
    seen: int = 0
    exact: bool = False
    duration_sec: float = 0.0
    wave: tuple[float, ...] = ()
    sound_sec: float = 0.0
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Watching:
    """How a run's videos were looked at.

    Attributes:
        run_id: the run that looked: of a fusion, the one whose captions it was made from.
        exact: whether the plan is that run's; else the frames are merely of the video.
    """

    run_id: str
    plan: SamplingPlan
    limits: DecodeLimits
    storage: StorageOptions
    exact: bool


def watching(run: Run, related: Sequence[Part]) -> Watching:
    """Read how a run's videos were looked at from its configuration.

    Args:
        related: partitions among which are the captions that a fusion was made from.
    """
    run_id, config = run.run_id, run.config
    plan = _plan(run_id, config)
    source = _source(config, related) if plan is None else None
    if source is not None:
        run_id, config = source.run_id, read_config(run.store, source.run_id)
        plan = _plan(run_id, config)
    try:
        limits = DecodeLimits.model_validate(field_of(config, "decode.limits") or {})
        storage = StorageOptions.model_validate(field_of(config, "storage") or {})
    except ValidationError:
        limits, storage = DecodeLimits(), StorageOptions()
    if run.store.options.endpoint_url is not None:
        storage = storage.model_copy(update={"endpoint_url": run.store.options.endpoint_url})
    return Watching(
        run_id=run_id, plan=plan or _FALLBACK, limits=limits, storage=storage, exact=bool(plan)
    )


def _plan(run_id: str, config: dict[str, Any]) -> SamplingPlan | None:
    """The plan that a run stored; None where it has none, or where it cannot be read."""
    plan = field_of(config, "recipe.plan")
    try:
        return SamplingPlan.model_validate(plan) if plan else None
    except ValidationError as error:
        logger.warning("how run %s sampled its videos is unknown: %s", run_id, error)
        return None


def _source(config: dict[str, Any], related: Sequence[Part]) -> Part | None:
    """The newest captions of the recipe that a fusion works on."""
    name = field_of(config, "recipe.name")
    recipe = field_of(config, "source_recipe")
    if recipe is None and isinstance(name, str):
        with suppress(ConfigError):
            recipe = find_recipe(name).source_recipe
    found = [part for part in related if part.table == "captions" and part.recipe == recipe]
    return max(found, key=lambda part: max(file.modified for file in part.files), default=None)


def take_pictures(
    videos: Mapping[str, tuple[str, float | None]], how: Watching, *, share_of: int
) -> Iterator[tuple[str, Pictures]]:
    """Decode videos again.

    Args:
        videos: video id -> uri and length in seconds, if that is known.
        how: the run's plan, limits and storage.
        share_of: videos of the whole page, among which PAGE_BYTES are divided.

    Yields:
        (video id, its pictures), in order.
    """
    share = PAGE_BYTES // max(1, share_of)
    with ExitStack() as stack, ThreadPoolExecutor(_DECODERS) as pool:
        idle: SimpleQueue[DecodeSandbox] = SimpleQueue()
        for _ in range(min(_DECODERS, len(videos))):
            idle.put(stack.enter_context(DecodeSandbox(how.limits, how.storage)))

        def one(uri: str, duration: float | None) -> Pictures:
            sandbox = idle.get()
            try:
                clip = video_of(sandbox.decode(uri, _bounded(how.plan, duration)))
            except (VideoError, DecoderFaultError) as error:
                return Pictures(problem=f"{type(error).__name__}: {error}")
            finally:
                idle.put(sandbox)
            return pictures_of(clip, exact=how.exact, most_bytes=share, begin=segment_begin(uri))

        yield from zip(videos, pool.map(lambda video: one(*video), videos.values()), strict=True)


def _bounded(plan: SamplingPlan, duration: float | None) -> SamplingPlan:
    """A plan by rate thinned by a whole number: every so many-th frame the model was given."""
    if plan.fps is None or not duration:
        return plan
    every = int(np.ceil(plan.fps * duration / _MAX_DECODED))
    return plan.model_copy(update={"fps": plan.fps / max(1, every)})


def pictures_of(
    clip: DecodedVideo, *, exact: bool, most_bytes: int, begin: float = 0.0
) -> Pictures:
    """Thumbnails and waveform of a clip; as many frames as fit into ``most_bytes``.

    Args:
        begin: of the clip in its file, in seconds.
    """
    count = min(MAX_FRAMES, clip.num_frames)
    chosen: list[int] = []
    thumbnails: dict[int, Thumbnail] = {}
    while count:
        chosen = sorted({int(index) for index in np.linspace(0, clip.num_frames - 1, count)})
        for index in chosen:
            if index not in thumbnails:
                thumbnails[index] = _thumbnail(clip, index, begin)
        if sum(len(thumbnails[index].source) for index in chosen) <= most_bytes:
            break
        chosen, count = [], count // 2
    wave = waveform(clip.audio) if clip.audio is not None else ()
    return Pictures(
        thumbnails=tuple(thumbnails[index] for index in chosen),
        seen=clip.num_frames,
        exact=exact,
        duration_sec=clip.info.duration_sec,
        wave=wave,
        sound_sec=len(clip.audio) / clip.audio_rate if clip.audio is not None else 0.0,
    )


def _thumbnail(clip: DecodedVideo, index: int, begin: float) -> Thumbnail:
    picture = Image.fromarray(clip.images([index])[0])
    picture.thumbnail((_EDGE, _EDGE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, optimize=True)
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return Thumbnail(
        seconds=begin + float(clip.timestamps[index]),
        source=f"data:image/jpeg;base64,{encoded}",
        width=picture.width,
        height=picture.height,
    )


def waveform(audio: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """Loudest sample of each of WAVE_BINS equal parts, shape (WAVE_BINS,), 0 to 1.

    Args:
        audio: float32 mono, shape (N,).
    """
    if not len(audio):
        return ()
    loudness = np.minimum(np.abs(np.nan_to_num(audio)), 1.0)
    starts = np.linspace(0, len(audio), WAVE_BINS, endpoint=False).astype(np.int64)
    return tuple(round(float(peak), 3) for peak in np.maximum.reduceat(loudness, starts))
