"""From a file to a :class:`~schemas.media.DecodedVideo`: sampled frames and sound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from actors.decoding.allowance import Allowance
from actors.decoding.extent import check_complete, check_length, is_animated_webp
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
from actors.decoding.sound import SoundTrack, decode_sound
from actors.storage.range_reader import RangeReader
from schemas.budget import SHORTEST_SOUND_SEC, Budget
from schemas.errors import CorruptMediaError, NoMediaStreamError, UnsupportedCodecError
from schemas.media import DecodedVideo, DecodeLimits, SamplingPlan, VideoInfo


def decode(
    source: RangeReader,
    plan: SamplingPlan,
    limits: DecodeLimits,
    costs: ReadingCosts = LIST_PRICES,
    budget: Budget | None = None,
) -> DecodedVideo:
    """Decode what ``plan`` wants of a file.

    Args:
        source: the file, from :func:`actors.storage.access.open_range`.
        plan: which frames, how large, and whether sound.
        limits: pixels and duration; wall time and memory are the sandbox's to enforce.
        costs: decide which of the bytes between the needed ones are read.
        budget: what the model can be shown; None where no model is to see it.

    Raises:
        OpenError: not a media file, or the storage fails.
        MemoryError: out of memory; the sandbox makes it a DecoderCrashedError.
        DecodeError: nothing to decode, no decoder, nothing decodes, or over the limits.
    """
    opened = open_source(source, limits, costs)
    try:
        return _decode(opened, plan, limits, Allowance(opened, plan, limits, budget))
    except BAD_DATA as error:
        raise CorruptMediaError(f"cannot be decoded: {error.strerror or _reason(opened)}") from None
    finally:
        opened.container.close()


def _decode(
    source: Source, plan: SamplingPlan, limits: DecodeLimits, allowance: Allowance
) -> DecodedVideo:
    if source.video is None and plan.audio_rate is None:
        # A model that is shown nothing writes a caption all the same.
        raise NoMediaStreamError("the file has no picture, and the plan takes no sound")
    if source.audio is None and plan.num_frames == 0:
        raise NoMediaStreamError("the file has no sound, and the plan takes no picture")
    track, expected = None, allowance.by_header()
    if source.audio is not None and expected.plan.audio_rate is not None:
        track = SoundTrack(
            rate=expected.plan.audio_rate,
            start=header_start(source),
            seconds=header_duration(source),
            check=allowance.longer_sound,
            warn=source.warn,
        )
    schedule, tables = None, read_tables(source)
    if tables is not None and source.video is not None:
        schedule = schedule_from(source, source.video, tables[source.video.index])
    if tables is not None and schedule is not None:
        _check_clock(source, schedule)
        extent = extent_of(source, tables, sound=track is not None)
        fitting = allowance.by_content(expected, schedule, extent)
        if track is not None and fitting.plan.audio_rate is not None:
            _read_sound(source, tables, track)
    else:
        schedule, extent = scan(source, limits, track)
        _check_clock(source, schedule)
        fitting = allowance.by_content(expected, schedule, extent)
    plan = fitting.plan
    if source.last_log():
        source.warn(f"the file is damaged: {source.last_log()}")
    pictures = None
    if schedule is not None and plan.num_frames != 0:
        pictures = decode_pictures(source, schedule, plan)
    start = schedule.start if schedule is not None else header_start(source)
    audio = None
    if track is not None and plan.audio_rate is not None:
        audio = track.finish(start)
        if audio is None:
            source.warn("not one sample of the sound can be decoded")
    if pictures is not None and not pictures.times:
        if is_animated_webp(source.reader):
            raise UnsupportedCodecError("no decoder for animated WebP")
        # A caption of the sound alone would hide the loss.
        raise CorruptMediaError(f"no frame of the picture can be decoded: {_reason(source)}")
    if pictures is None and audio is None:
        raise CorruptMediaError(f"no sample of the sound can be decoded: {_reason(source)}")
    check_complete(source, extent)
    if fitting.warning is not None:
        source.warn(fitting.warning)
    sound_sec = 0.0
    if audio is not None and plan.audio_rate is not None:
        sound_sec = len(audio) / plan.audio_rate
        if sound_sec < SHORTEST_SOUND_SEC and pictures is not None:
            source.warn(f"{1000 * sound_sec:.0f} ms of sound are too short for a model: left out")
            plan, audio = plan.model_copy(update={"audio_rate": None}), None
    elif plan.audio_rate is None and extent.sound_end is not None:
        sound_sec = extent.sound_end - start
    clip = _clip(source, schedule, pictures, audio, sound_sec, plan)
    if fitting.window_sec is None:
        return clip
    return replace(clip, info=replace(clip.info, window_sec=fitting.window_sec))


def _read_sound(source: Source, tables: dict[int, SampleTable], track: SoundTrack) -> None:
    """Read the sound of an indexed file; the picture finds in the reader what lay between."""
    source.rewind()
    assert source.audio is not None
    table = tables[source.audio.index]
    source.expect(table.positions, table.sizes)
    for packet in source.packets(source.audio):
        decode_sound(source.audio, packet, track, source.warn)


def _check_clock(source: Source, schedule: Schedule | None) -> None:
    if schedule is not None:
        check_length(source, schedule.timeline.duration)


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
    video, sound, reader = source.video, source.audio, source.reader
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
        requests=reader.requests,
        bytes_read=reader.bytes_read,
        bytes_stored=reader.size,
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
