"""From a file to a :class:`~schemas.media.Clip`: sampled frames and sound."""

from __future__ import annotations

import av.error
import numpy as np
import numpy.typing as npt

from actors.indexed_sound import indexed_packets
from actors.pictures import Pictures, decode_pictures
from actors.probe import Source, header_duration, last_log, open_source
from actors.range_reader import RangeReader
from actors.sample_index import read_tables, schedule_from
from actors.scan import scan
from actors.schedule import Schedule
from actors.sound import SoundTrack, decode_sound
from schemas.errors import CorruptMediaError, TruncatedMediaError
from schemas.media import Clip, DecodeLimits, SamplingPlan, VideoInfo


def decode(source: RangeReader, plan: SamplingPlan, limits: DecodeLimits) -> Clip:
    """Decode what ``plan`` wants of a file.

    Args:
        source: the file, from :func:`actors.storage.open_range`.
        plan: which frames, how large, and whether sound.
        limits: pixels and duration; wall time and memory are the sandbox's to enforce.

    Raises:
        OpenError: not a media file, or the storage fails.
        MemoryError: out of memory; the sandbox makes it a DecoderCrashedError.
        DecodeError: nothing to decode, no decoder, nothing decodes, or over the limits.
    """
    opened = open_source(source, limits)
    try:
        return _decode(opened, plan, limits)
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise CorruptMediaError(f"cannot be decoded: {error.strerror or _reason()}") from None
    finally:
        opened.container.close()


def _decode(source: Source, plan: SamplingPlan, limits: DecodeLimits) -> Clip:
    track = None
    if source.audio is not None and plan.audio_rate is not None:
        track = SoundTrack(
            rate=plan.audio_rate,
            start=_header_start(source),
            seconds=header_duration(source),
            warn=source.warn,
        )
    schedule, tables = None, None
    if source.video is not None:
        tables = read_tables(source)
        if tables is not None:
            schedule = schedule_from(source, source.video, tables[source.video.index])
    indexed = tables is not None and schedule is not None
    if not indexed:
        schedule = scan(source, limits, track)
    pictures = decode_pictures(source, schedule, plan) if schedule is not None else None
    if indexed and tables is not None and track is not None and source.audio is not None:
        spans = pictures.spans if pictures is not None else []
        sound = tables[source.audio.index]
        for packet in indexed_packets(source, source.audio, sound, spans):
            decode_sound(source.audio, packet, track, source.warn)
    audio = None
    if track is not None:
        audio = track.finish(schedule.start if schedule is not None else _header_start(source))
        if audio is None:
            source.warn("not one sample of the sound can be decoded")
    if pictures is not None and not pictures.times:
        # A caption of the sound alone would hide the loss.
        raise CorruptMediaError(f"no frame of the picture can be decoded: {_reason()}")
    if pictures is None and audio is None and track is not None:
        raise CorruptMediaError(f"no sample of the sound can be decoded: {_reason()}")
    return _clip(source, schedule, pictures, audio, plan)


def _reason() -> str:
    return last_log() or "the streams hold no data"


def _header_start(source: Source) -> float:
    """Return the first moment of the picture, or else of the sound, in seconds."""
    stream = source.video or source.audio
    if stream is None or stream.start_time is None or stream.time_base is None:
        return 0.0
    return float(stream.start_time * stream.time_base)


def _check_length(source: Source, there: float) -> None:
    """Tell a file that ends early from a whole one.

    Raises:
        TruncatedMediaError: less is there than the limits ask for.
    """
    announced = header_duration(source)
    # Matroska announces when the file ends on its clock, which need not begin at 0.
    there += max(0.0, _header_start(source)) if announced > there else 0.0
    # Without an index the length of the last frame is a guess: leave room for it.
    short = source.cut or announced - there > max(1.0, 0.02 * announced)
    if not short:
        return
    sentence = f"the header announces {announced:.1f} s, {there:.1f} s are there"
    if there < source.limits.min_complete * announced:
        raise TruncatedMediaError(
            f"the file is cut off: {sentence}. Upload it again, or set "
            "decode.limits.min_complete to caption what is there"
        )
    source.warn(sentence)


def _clip(
    source: Source,
    schedule: Schedule | None,
    pictures: Pictures | None,
    audio: npt.NDArray[np.float32] | None,
    plan: SamplingPlan,
) -> Clip:
    video, sound, reader = source.video, source.audio, source.reader
    converter = pictures.converter if pictures is not None else None
    timeline = schedule.timeline if schedule is not None else None
    seconds = [timeline.duration if timeline is not None else 0.0]
    if audio is not None and plan.audio_rate is not None:
        seconds.append(len(audio) / plan.audio_rate)
    elif sound is not None:
        seconds.append(header_duration(source))
    if audio is not None or not sound:
        _check_length(source, max(seconds))
    info = VideoInfo(
        duration_sec=max(seconds),
        fps=timeline.rate if timeline is not None else 0.0,
        width=converter.width if converter is not None else 0,
        height=converter.height if converter is not None else 0,
        has_video=video is not None,
        has_audio=sound is not None and (audio is not None or plan.audio_rate is None),
        container=source.container.format.name,
        video_codec=video.codec_context.name if video is not None else "",
        audio_codec=sound.codec_context.name if sound is not None else "",
        rotation=converter.rotation if converter is not None else 0,
        bytes_read=reader.bytes_read,
        bytes_stored=reader.size,
    )
    return Clip(
        info=info,
        frames=pictures.images if pictures is not None else np.empty((0, 0, 0, 3), np.uint8),
        timestamps=np.array(pictures.times if pictures is not None else [], dtype=np.float64),
        audio=audio,
        audio_rate=plan.audio_rate or 0 if audio is not None else 0,
        warnings=tuple(source.warnings),
        pack=pictures.pack if pictures is not None else None,
    )
