"""One reading of a whole file: when its frames are due, and its sound on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.stream import VideoStream

from actors.probe import Source, frame_rate
from actors.sampling import Timeline
from actors.sound import SoundTrack, add_packet
from schemas.errors import MediaLimitError
from schemas.media import DecodeLimits


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a video's frames are due, and where decoding can begin.

    Attributes:
        timeline: times from the first frame.
        start: time of the first frame on the container's clock, in seconds.
        keys: times of the key frames from the first frame, float64, shape (K,), increasing;
            empty where decoding must begin at the start.
        key_packets: how many packets of the picture come before each, int64, shape (K,).
    """

    timeline: Timeline
    start: float
    keys: npt.NDArray[np.float64]
    key_packets: npt.NDArray[np.int64]


class _Stamps:
    """Timestamps of the picture's packets, in decoding order."""

    def __init__(self, video: VideoStream, limits: DecodeLimits) -> None:
        self._video = video
        self._limit = limits.max_duration_sec
        self._times: list[float] = []
        self._keys: list[tuple[float, int]] = []
        self._count = 0
        self._shown = 0
        self._complete = True

    def add(self, packet: Packet[Any]) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            self._complete = False
        elif not packet.is_discard:
            time = float(stamp * packet.time_base)
            self._times.append(time)
            self._shown += 1
            if packet.is_keyframe:
                self._keys.append((time, self._count))
        self._count += 1
        if self._count / 1000 > self._limit:
            raise MediaLimitError(f"more frames than {self._limit:.0f} s can hold")

    def schedule(self) -> Schedule:
        rate = frame_rate(self._video)
        times = np.unique(np.array(self._times, dtype=np.float64))
        tick = float(self._video.time_base or 0)
        start = float(times[0]) if len(times) else 0.0
        complete = self._complete and len(times) == self._shown
        if complete and len(times) > 1:
            span = float(times[-1] - times[0])
            if span > self._limit:
                raise MediaLimitError(f"{span:.0f} s long, more than {self._limit:.0f} s")
            rate = (len(times) - 1) / span
            timeline = Timeline(last=span, count=len(times), rate=rate, tick=tick)
            keys = np.array([time - start for time, _ in self._keys], dtype=np.float64)
            before = np.array([count for _, count in self._keys], dtype=np.int64)
            if np.all(np.diff(keys) > 0):
                return Schedule(timeline=timeline, start=start, keys=keys, key_packets=before)
        else:
            last = max(0, self._count - 1) / rate
            timeline = Timeline(last=last, count=self._count, rate=rate, tick=tick)
        nothing = np.empty(0)
        return Schedule(
            timeline=timeline, start=start, keys=nothing, key_packets=nothing.astype(np.int64)
        )


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
            add_packet(packet, track, source.warn)
        elif stamps is not None and packet.size:
            stamps.add(packet)
    return stamps.schedule() if stamps is not None else None
