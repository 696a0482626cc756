"""Overlapping windows over a video, and what of a decoded clip lies in each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from schemas.media import Clip, DecodedVideo


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of a video, in seconds from its start."""

    index: int
    start_sec: float
    end_sec: float


def windows_over(duration_sec: float, *, window_sec: float, stride_sec: float) -> list[Window]:
    """Windows that begin every ``stride_sec`` until one reaches the end of the video.

    The last one may be shorter. A video shorter than one window is one window.
    """
    # A hundredth of a second beyond the last window is rounding, not content.
    beyond = max(0.0, duration_sec - window_sec - 0.01)
    count = 1 + math.ceil(beyond / stride_sec)
    return [
        Window(
            index=index,
            start_sec=index * stride_sec,
            end_sec=min(index * stride_sec + window_sec, duration_sec),
        )
        for index in range(count)
    ]


def frames_within(video: DecodedVideo, window: Window) -> list[int]:
    """Indices of the frames shown in a window; the one before it where none begins inside."""
    times = video.timestamps
    inside = np.flatnonzero((times >= window.start_sec - 1e-6) & (times < window.end_sec - 1e-6))
    if not len(inside) and len(times):
        inside = np.array([max(0, int(np.searchsorted(times, window.start_sec, "right")) - 1)])
    return [int(index) for index in inside]


def cut(video: DecodedVideo, window: Window, *, frames: list[int], sound: bool) -> Clip:
    """A window as a clip: some frames, unpacked, and the sound of its time.

    Args:
        frames: indices of the frames to show.
        sound: with the sound, where there is any.
    """
    audio = None
    if sound and video.audio is not None:
        begin = round(window.start_sec * video.audio_rate)
        audio = video.audio[begin : round(window.end_sec * video.audio_rate)]
    heard = audio is not None and len(audio) > 0
    return Clip(
        duration_sec=window.end_sec - window.start_sec,
        frames=video.images(frames),
        timestamps=np.maximum(0.0, video.timestamps[frames] - window.start_sec),
        audio=audio if heard else None,
        audio_rate=video.audio_rate if heard else 0,
    )
