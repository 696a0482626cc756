"""One reading of a whole file: when its frames are due, and its sound on the way."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from av.video.stream import VideoStream

from actors.decoding import clock
from actors.decoding.clock import Floats, Packets
from actors.decoding.edits import check_shown
from actors.decoding.extent import MOST_FRAMES_PER_SEC, Extent, riff_bytes
from actors.decoding.probe import Source, frame_rate, header_duration, header_start
from actors.decoding.sampling import Timeline
from actors.decoding.schedule import Schedule
from actors.decoding.sound import SoundTrack, decode_sound
from schemas.errors import MediaLimitError
from schemas.media import DecodeLimits


class Scanned(NamedTuple):
    """What one reading of a file told.

    Attributes:
        schedule: the picture's, None without a picture.
        extent: how far the file goes.
        moves: seconds to add to the stamps of the sound's packets, shape (P,).
    """

    schedule: Schedule | None
    extent: Extent
    moves: Floats


def scan(source: Source, limits: DecodeLimits, track: SoundTrack | None) -> Scanned:
    """Read the file once from its current position to the end.

    Args:
        source: the open container. Its picture may turn out to be another stream, see
            :meth:`Source.take_film`.
        limits: checked against what is really there.
        track: gets the sound, unless None.

    Raises:
        MediaLimitError: longer than allowed.
    """
    # Of all streams: the header announces the end of the longest one.
    streams = _read(source, limits, track)
    source.take_film({index: len(packets) for index, packets in streams.items()})
    source.note_late_streams()
    video, audio = source.video, source.audio
    picture = streams[video.index] if video is not None else None
    sound = streams[audio.index] if audio is not None else None
    joins = clock.find_joins(picture, sound, ahead=source.endless)
    if len(joins.places):
        source.warn("the clock jumps, as in joined recordings; the parts follow each other")
    streams = {index: packets.moved(joins) for index, packets in streams.items()}
    moves = np.empty(0) if audio is None else streams[audio.index].moves
    if track is not None:
        track.move(moves)
    schedule = None
    if video is not None:
        if streams[video.index].lacks_some:
            source.warn("the picture has gaps, in which the frame before them stands still")
        schedule = _schedule(source, video, streams[video.index], limits)
    ends = {index: packets.end for index, packets in streams.items() if len(packets)}
    start = header_start(source)
    counted = 0.0 if schedule is None else schedule.start + schedule.timeline.duration
    announced = header_duration(source)
    # Matroska announces when the file ends on its clock, which need not begin at 0.
    there = max([counted, *ends.values()]) - min(0.0, start)
    missing = riff_bytes(source.reader) / source.reader.size - 1
    if missing > 0:
        source.cut = True
        announced = there * (1 + missing)
    extent = Extent(
        announced=announced,
        there=there,
        sound_end=ends.get(audio.index) if audio is not None else None,
    )
    return Scanned(schedule, extent, moves)


def _read(source: Source, limits: DecodeLimits, track: SoundTrack | None) -> dict[int, Packets]:
    """Read all packets, and what they say of time, by the index of their stream."""
    streams = source.container.streams
    # Program streams stamp some frames only.
    guessed = source.container.format.name == "mpeg"
    stamps = {
        stream.index: clock.Stamps(
            stream.codec_context.name if guessed and stream.codec_context is not None else ""
        )
        for stream in streams
    }
    pictures = {stream.index for stream in streams.video}
    most = limits.max_duration_sec * MOST_FRAMES_PER_SEC
    audio = source.audio
    for place, packet in enumerate(source.packets(*streams)):
        index = packet.stream_index
        if packet.size:
            stamps[index].add(packet, place)
            if index in pictures and len(stamps[index]) > most:
                raise MediaLimitError(f"more frames than {limits.max_duration_sec:.0f} s can hold")
        if audio is not None and index == audio.index and track is not None:
            decode_sound(audio, packet, track, source.warn)
    lead = source.video or source.audio
    near = stamps[lead.index].first if lead is not None and source.endless else math.nan
    return {index: noted.read(near) for index, noted in stamps.items()}


def _schedule(
    source: Source, video: VideoStream, picture: Packets, limits: DecodeLimits
) -> Schedule:
    rate = frame_rate(video)
    due, in_turn = _frame_times(source, picture, rate)
    times = np.unique(due[~np.isnan(due)])
    start = float(times[0]) if len(times) else 0.0
    last = float(times[-1]) - start if len(times) else 0.0
    # Not every container says how long the last frame is shown, nor is a field all of a frame.
    held = picture.lasting[int(np.nanargmax(due))] if len(times) else 0.0
    fields = len(times) < len(picture) - np.count_nonzero(picture.hidden)
    duration = last + (held if held > 0 and not fields else 1.0 / rate)
    if duration > limits.max_duration_sec:
        raise MediaLimitError(f"{duration:.0f} s long, more than {limits.max_duration_sec:.0f} s")
    timeline = Timeline(
        last=last,
        duration=duration,
        count=len(times),
        rate=(len(times) - 1) / last if last > 0 else rate,
        tick=float(video.time_base or 0),
    )
    check_shown(source, len(times))
    if in_turn:
        return Schedule(timeline=timeline, start=start, turns=times - start)
    due -= start
    # A packet without a frame of its own belongs to the frame before. Nothing from a packet on
    # is shown before this.
    owners = np.maximum.accumulate(np.where(np.isnan(due), 0, np.arange(len(due))))
    shown_from = np.minimum.accumulate(np.nan_to_num(due[owners])[::-1])[::-1]
    keys = np.flatnonzero(picture.keys & ~np.isnan(due))
    if np.any(np.diff(due[keys]) <= 0):
        keys = keys[:0]
    return Schedule(
        timeline=timeline, start=start, due=due, shown_from=shown_from, keys=keys,
        key_times=due[keys],
    )  # fmt: skip


def _frame_times(source: Source, picture: Packets, rate: float) -> tuple[Floats, bool]:
    """Work out when the packets' frames are shown.

    Returns:
        Seconds on the file's one clock, shape (P,), NaN for packets without a frame of their
        own; and whether the frames take these times in turn, as they leave the decoder, since
        nothing says which is whose.
    """
    assert source.video is not None
    stamps, step = picture.stamps, picture.step
    known = np.flatnonzero(~np.isnan(stamps))
    number = np.arange(len(stamps), dtype=np.float64)
    if len(known) == 0:
        source.warn("frames without a timestamp were timed by the average frame rate")
        length = np.nan_to_num(picture.lasting)
        # A field lasts for half a frame.
        fields = len(length) > 0 and 0 < float(np.median(length)) * rate < 0.75
        count = round(float(length.sum()) * rate) if fields else len(length)
        return np.where(number < count, number / rate, np.nan), True
    shown = picture.decoded if source.has_decoding_times_only else picture.shown
    # Decoding times are those of frames: a second field has none, or its first field's.
    again = np.isnan(picture.decoded) & np.isnan(shown)
    once = np.isnan(picture.decoded[1:]) | (picture.decoded[1:] == picture.decoded[:-1])
    again[1:] |= once & (shown[1:] == shown[:-1])
    at = known[~again[known]]
    # A packet without a stamp that leaves no room for a frame is the second field of one.
    steps = np.diff(stamps[at], append=np.inf) * rate
    steps[-1] = 0.0 if np.any(steps[:-1][np.diff(at) > 1] < 1.5) else np.inf
    owners = np.searchsorted(at, number, side="right") - 1
    fields = again & (owners >= 0) & (steps[owners] < 1.5)
    frames = ~picture.hidden & ~fields
    in_turn = source.reorders and source.has_decoding_times_only
    if not in_turn and not np.isnan(shown[frames]).any() and not again[frames].any():
        return np.where(frames, shown, np.nan), False
    if again[frames].any():
        source.warn("frames without a timestamp were timed by their neighbours")
    step = step or 1.0 / rate
    each = np.interp(number, at, stamps[at])
    each += (np.minimum(number - at[0], 0) + np.maximum(number - at[-1], 0)) * step
    due = np.full(len(stamps), np.nan)
    due[frames] = np.sort(each[frames])
    if source.reorders:
        # The decoder hands a frame out with the packet behind it, or a later one.
        shown = shown[~np.isnan(shown)]
        first = due[frames][0] if in_turn or len(shown) == 0 else float(shown.min())
        due[frames] = np.append(due[frames][1:], due[frames][-1] + step)
        due[frames] += first - due[frames][0]
    return due, source.reorders
