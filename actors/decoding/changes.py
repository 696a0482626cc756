"""Sampling by change: a few frames a second, and every frame between two that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from schemas.media import SamplingPlan

F = TypeVar("F")
Image = npt.NDArray[np.uint8]

MOST_HELD = 12
"""Decoded frames that wait, at their full size, for the next sampled one."""


def at_changes(
    frames: Iterable[tuple[float, F]],
    convert: Callable[[F], Image],
    plan: SamplingPlan,
    rate: float,
) -> Iterator[tuple[float, Image]]:
    """Yield (time, image): the sampled frames, and all between two of them that differ.

    So two images in a row that differ by more than ``plan.change`` are those of two frames in a
    row. The frames after the last sampled one are all yielded, as something may change next.

    Args:
        frames: (time, frame), all of a stretch, in order of time.
        convert: makes the image of a frame, uint8 of shape (H, W, 3), the same for all.
        plan: with ``fps`` and ``change``.
        rate: frames per second of the video.
    """
    assert plan.fps is not None and plan.change is not None
    # Half a frame early, so that rounded times do not skip to the frame after.
    step = min(1 / plan.fps, MOST_HELD / rate) - 0.5 / rate
    last: Image | None = None
    at = before = -np.inf
    held: list[tuple[float, F]] = []
    for time, frame in frames:
        if time <= before:
            continue  # the same again, at the begin of another run
        before = time
        if last is not None and time - at < step:
            held.append((time, frame))
            continue
        image = convert(frame)
        if last is not None and difference(last, image) > plan.change:
            yield from ((each, convert(other)) for each, other in held)
        yield time, image
        last, at = image, time
        held.clear()
    yield from ((each, convert(other)) for each, other in held)


def difference(one: Image, other: Image) -> float:
    """Mean absolute difference of two images of the same shape, from 0 to 255."""
    # Bytes wrap around: the smaller of both directions would be wrong, the larger less the smaller
    # is not.
    return float(np.mean(np.maximum(one, other) - np.minimum(one, other)))


def frames_from(
    frames: Iterable[tuple[float, F]], moments: Sequence[float], tolerance: float
) -> Iterator[tuple[float, F]]:
    """All frames from the one shown at the first moment on, up to the last moment.

    Args:
        frames: (time, frame) in order of time.
        moments: in order.
        tolerance: see :attr:`actors.decoding.sampling.Timeline.tolerance`.
    """
    shown: tuple[float, F] | None = None
    for time, frame in frames:
        if shown is not None and time > moments[0] + tolerance:
            yield shown
        if time > moments[-1] + tolerance:
            return
        shown = time, frame
    if shown is not None:
        yield shown
