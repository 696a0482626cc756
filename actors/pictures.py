"""The picture: finding a video's frames on its time axis and decoding the wanted ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av.error
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from actors.probe import Source, frame_rate
from actors.sampling import shown_frames, target_times
from actors.scan import Schedule
from actors.upright import FrameConverter, Image
from schemas.media import SamplingPlan


class FrameClock:
    """Give every decoded frame a time in seconds that is later than the one before.

    A frame without a presentation time gets its decoding time; without that, or where time
    does not move on, the time one average frame after the last.
    """

    def __init__(self, source: Source, start: float) -> None:
        self._source = source
        self._start = start
        self._step = 1.0 / frame_rate(source.video) if source.video is not None else 0.04
        self._last: float | None = None

    def time(self, frame: VideoFrame) -> float:
        """Return the time of the next frame, in seconds from the start of the video."""
        stamp = frame.pts if frame.pts is not None else frame.dts
        due = 0.0 if self._last is None else self._last + self._step
        if stamp is None or frame.time_base is None:
            self._source.warn("frames without a timestamp were timed by the average frame rate")
            time = due
        else:
            time = float(stamp * frame.time_base) - self._start
            if self._last is not None and time <= self._last:
                self._source.warn("timestamps that go backwards were replaced")
                time = due
        self._last = time
        return time


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The sampled frames.

    Attributes:
        images: RGB, all of one shape (H, W, 3).
        times: one per image, seconds, increasing.
        converter: knows the displayed size and the rotation.
    """

    images: list[Image]
    times: list[float]
    converter: FrameConverter


def decode_pictures(source: Source, schedule: Schedule, plan: SamplingPlan) -> Pictures:
    """Decode the frames that ``plan`` wants.

    Returns:
        No images where not one frame can be decoded.
    """
    video = source.video
    assert video is not None
    converter = FrameConverter(
        max_pixels=plan.max_pixels, aspect=video.sample_aspect_ratio, warn=source.warn
    )
    images: list[Image] = []
    times: list[float] = []
    targets = target_times(plan, schedule.timeline)
    repeated = None
    for time, frame, target in _wanted(source, schedule, targets):
        if frame is repeated:
            # A long-lasting frame that several moments fall on: same image, later moment.
            images.append(images[-1])
            times.append(target)
        else:
            images.append(converter.convert(frame))
            times.append(time)
        repeated = frame
    return Pictures(images=images, times=times, converter=converter)


def _wanted(
    source: Source, schedule: Schedule, targets: npt.NDArray[np.float64] | None
) -> Iterator[tuple[float, VideoFrame, float]]:
    rewind(source)
    clock = FrameClock(source, schedule.start)
    frames = ((clock.time(frame), frame) for frame in _decode(source))
    if targets is None:
        yield from ((time, frame, time) for time, frame in frames)
    else:
        yield from shown_frames(frames, targets.tolist(), schedule.timeline.tolerance)


def rewind(source: Source) -> None:
    """Go back to the file's start."""
    try:
        source.container.seek(0, backward=True)
    except av.error.FFmpegError:
        source.container.seek(0, unsupported_byte_offset=True)


def _decode(source: Source) -> Iterator[VideoFrame]:
    assert source.video is not None
    for packet in source.packets(source.video):
        try:
            yield from packet.decode()
        except (av.error.FFmpegError, ValueError):
            source.warn("some of the picture could not be decoded")
