"""One reading of a whole file: when its frames are due, and its sound on the way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from actors.decoding.extent import Extent, riff_bytes
from actors.decoding.probe import Source, frame_rate, header_duration, header_start
from actors.decoding.sampling import Timeline
from actors.decoding.schedule import Schedule
from actors.decoding.sound import SoundTrack, decode_sound
from schemas.errors import MediaLimitError
from schemas.media import DecodeLimits

_MOST_FRAMES_PER_SEC = 1000


class _Stamps:
    """Timestamps of the picture's packets, in decoding order."""

    def __init__(self, video: VideoStream, limits: DecodeLimits) -> None:
        self._video = video
        self._limit = limits.max_duration_sec
        self._shown: list[float] = []
        self._stored: list[float] = []
        self._keys: list[tuple[int, float]] = []
        self._last = -math.inf
        self._hold = 0.0
        self._count = 0
        self._hidden = 0

    def add(self, packet: Packet[Any]) -> None:
        number = self._count
        self._count += 1
        if self._count > self._limit * _MOST_FRAMES_PER_SEC:
            raise MediaLimitError(f"more frames than {self._limit:.0f} s can hold")
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            return
        time = float(stamp * packet.time_base)
        self._stored.append(time)
        if packet.is_discard:
            self._hidden += 1
        else:
            self._shown.append(time)
            if time >= self._last:
                self._last, self._hold = time, float((packet.duration or 0) * packet.time_base)
        if packet.is_keyframe:
            self._keys.append((number, time))

    def schedule(self) -> Schedule:
        rate = frame_rate(self._video)
        times = np.unique(np.array(self._shown, dtype=np.float64))
        start = float(times[0]) if len(times) else 0.0
        if len(times) < 2 or len(times) + self._hidden != self._count:
            # Stamps are missing or come twice: count frames at the average rate.
            timeline = self._timeline(max(0, self._count - 1) / rate, self._count, rate)
            return Schedule(timeline=timeline, start=start)
        span = float(times[-1] - times[0])
        timeline = self._timeline(span, len(times), (len(times) - 1) / span)
        stored = np.array(self._stored, dtype=np.float64) - start
        # Nothing from a packet on is shown before this.
        shown_from = np.minimum.accumulate(stored[::-1])[::-1]
        keys = np.array([number for number, _ in self._keys], dtype=np.int64)
        key_times = np.array([time for _, time in self._keys], dtype=np.float64) - start
        if np.any(np.diff(key_times) <= 0):
            return Schedule(timeline=timeline, start=start)
        return Schedule(
            timeline=timeline, start=start, shown_from=shown_from, keys=keys, key_times=key_times
        )

    def _timeline(self, last: float, count: int, rate: float) -> Timeline:
        # Not every container says how long the last frame is shown.
        duration = last + (self._hold or 1.0 / rate)
        if duration > self._limit:
            raise MediaLimitError(f"{duration:.0f} s long, more than {self._limit:.0f} s")
        tick = float(self._video.time_base or 0)
        return Timeline(last=last, duration=duration, count=count, rate=rate, tick=tick)


def scan(
    source: Source, limits: DecodeLimits, track: SoundTrack | None
) -> tuple[Schedule | None, Extent]:
    """Read the file once from its current position to the end.

    Args:
        source: the open container.
        limits: checked against what is really there.
        track: gets the sound, unless None.

    Returns:
        The picture's schedule, or None without a picture; and how far the file goes.

    Raises:
        MediaLimitError: longer than allowed.
    """
    video, audio = source.video, source.audio
    stamps = _Stamps(video, limits) if video is not None else None
    ends: dict[int, float] = {}
    # Of all streams: the header announces the end of the longest one.
    for packet in source.packets(*source.container.streams):
        index = packet.stream_index
        stamp = packet.pts if packet.pts is not None else packet.dts
        if packet.size and stamp is not None:
            end = float((stamp + (packet.duration or 0)) * packet.time_base)
            ends[index] = max(end, ends.get(index, end))
        if audio is not None and index == audio.index and track is not None:
            decode_sound(audio, packet, track, source.warn)
        elif stamps is not None and video is not None and index == video.index and packet.size:
            stamps.add(packet)
    schedule = stamps.schedule() if stamps is not None else None
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
    return schedule, extent
