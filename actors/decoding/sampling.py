"""Which moments of a video to show, which frame is shown at a moment, and how large."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from schemas.media import SamplingPlan

F = TypeVar("F")


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """When the frames of a video are shown; times in seconds from its first frame.

    Attributes:
        last: time of the last frame.
        duration: time at which the last frame's showing ends.
        count: number of frames.
        rate: average frames per second, above 0.
        tick: resolution of the container's timestamps in seconds.
    """

    last: float
    duration: float
    count: int
    rate: float
    tick: float

    @property
    def tolerance(self) -> float:
        """How much later than a moment a frame may be stamped and count as shown, in seconds.

        Containers round timestamps (Matroska and FLV to milliseconds), so a frame due at a
        moment may be stamped up to one tick late. Where a tick is of the order of a frame,
        frames are numbered rather than timed, and nothing is rounded.
        """
        frame = 1.0 / self.rate
        return 1.01 * self.tick if 0 < self.tick <= frame / 4 else frame / 1000


def target_times(plan: SamplingPlan, timeline: Timeline) -> npt.NDArray[np.float64] | None:
    """Return the moments to show, float64, shape (N,), increasing from 0.

    ``num_frames``: evenly from the first frame to the last, both included, or without the
    last one where the plan says so. ``fps``: every 1/fps seconds while the video lasts.

    Returns:
        None where every frame is wanted once: the video has no more than ``num_frames``
        frames, or no more than ``fps`` of them per second.
    """
    if plan.num_frames is not None:
        if timeline.count <= plan.num_frames:
            return None
        return np.linspace(0.0, timeline.last, plan.num_frames, endpoint=plan.include_last)
    assert plan.fps is not None
    if plan.fps >= timeline.rate * (1 - 1e-6):
        return None
    # A frame's width of rounding must not add a moment at the very end.
    count = max(1, math.ceil(round(timeline.duration * plan.fps, 6)))
    return np.arange(count, dtype=np.float64) / plan.fps


def span_times(plan: SamplingPlan, timeline: Timeline, seconds: float) -> npt.NDArray[np.float64]:
    """Return the moments to show of a span, as :func:`target_times` does of a whole video.

    Args:
        seconds: how long the span is, above 0.

    Returns:
        float64, shape (N,), increasing from 0, in seconds from the span's begin. No more than the
        video has frames in that time.
    """
    count = max(1, round(seconds * timeline.rate))
    if plan.num_frames is not None:
        last = max(0.0, seconds - 1.0 / timeline.rate)
        wanted = min(plan.num_frames, count) if last > 0 else 1
        return np.linspace(0.0, last, wanted, endpoint=plan.include_last)
    assert plan.fps is not None
    rate = min(plan.fps, timeline.rate)
    return np.arange(max(1, math.ceil(round(seconds * rate, 6))), dtype=np.float64) / rate


def shown_frames(
    frames: Iterable[tuple[float, F]], targets: Iterable[float], tolerance: float
) -> Iterator[tuple[float, F]]:
    """Pick for every moment the frame shown then: the last one that is not later.

    Args:
        frames: (time, frame) in order of time.
        targets: moments in order.
        tolerance: see :attr:`Timeline.tolerance`.

    Yields:
        (moment, frame), one per moment, as soon as it is certain. A moment before the first
        frame gets the first frame; all after the last get the last.
    """
    wanted = iter(targets)
    target = next(wanted, None)
    shown: F | None = None
    for time, frame in frames:
        while target is not None and time > target + tolerance:
            yield target, frame if shown is None else shown
            target = next(wanted, None)
        if target is None:
            return
        shown = frame
    while target is not None and shown is not None:
        yield target, shown
        target = next(wanted, None)


def fit_size(width: float, height: float, max_pixels: int) -> tuple[int, int]:
    """Return the largest (width, height) of the same shape within ``max_pixels``.

    Never larger than the original. No side goes below 28 pixels as long as the original is
    that large and the budget allows it.
    """
    scale = min(1.0, math.sqrt(max_pixels / (width * height)))
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    if new_width * new_height > max_pixels:
        new_width, new_height = max(1, int(width * scale)), max(1, int(height * scale))
    # An extreme aspect ratio can leave one side at a few pixels.
    if new_height < 28 <= height and new_width * 28 <= max_pixels:
        new_height = 28
    if new_width < 28 <= width and new_height * 28 <= max_pixels:
        new_width = 28
    return new_width, new_height
