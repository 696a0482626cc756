"""One reading of a whole file: when its frames are due, and its sound on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from actors.probe import Source, frame_rate
from actors.sampling import Timeline
from actors.schedule import Schedule
from actors.sound import SoundTrack, decode_sound
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
        if packet.is_keyframe:
            self._keys.append((number, time))

    def schedule(self) -> Schedule:
        rate = frame_rate(self._video)
        tick = float(self._video.time_base or 0)
        times = np.unique(np.array(self._shown, dtype=np.float64))
        start = float(times[0]) if len(times) else 0.0
        if len(times) < 2 or len(times) + self._hidden != self._count:
            # Stamps are missing or come twice: count frames at the average rate.
            last = max(0, self._count - 1) / rate
            self._check(last)
            timeline = Timeline(last=last, count=self._count, rate=rate, tick=tick)
            return Schedule(timeline=timeline, start=start)
        span = float(times[-1] - times[0])
        self._check(span)
        timeline = Timeline(last=span, count=len(times), rate=(len(times) - 1) / span, tick=tick)
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

    def _check(self, span: float) -> None:
        if span > self._limit:
            raise MediaLimitError(f"{span:.0f} s long, more than {self._limit:.0f} s")


def scan(source: Source, limits: DecodeLimits, track: SoundTrack | None) -> Schedule | None:
    """Read the file once from its current position to the end.

    Args:
        source: the open container.
        limits: checked against what is really there.
        track: gets the sound, unless None.

    Returns:
        The picture's schedule, or None without a picture.

    Raises:
        MediaLimitError: longer than allowed.
    """
    video, audio = source.video, source.audio if track is not None else None
    stamps = _Stamps(video, limits) if video is not None else None
    for packet in source.packets(*(stream for stream in (video, audio) if stream is not None)):
        if audio is not None and packet.stream_index == audio.index:
            assert track is not None
            decode_sound(audio, packet, track, source.warn)
        elif stamps is not None and packet.size:
            stamps.add(packet)
    return stamps.schedule() if stamps is not None else None
