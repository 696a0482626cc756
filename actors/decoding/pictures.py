"""The picture: finding a video's frames on its time axis and decoding the wanted ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import av.error
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from actors.decoding.probe import BAD_DATA, Source, drain, frame_rate
from actors.decoding.sampling import shown_frames, target_times
from actors.decoding.schedule import Run, Schedule
from actors.decoding.upright import FrameConverter
from schemas.frame_pack import FramePack, FramePacker
from schemas.media import SamplingPlan


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The sampled frames.

    Attributes:
        images: RGB, shape (T, H, W, 3); T is 0 where ``pack`` holds them.
        pack: the images compressed, where the plan asks for it.
        times: the moment that each image is shown for, seconds, increasing.
        converter: knows the displayed size and the rotation.
    """

    images: npt.NDArray[np.uint8]
    pack: FramePack | None
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
        max_pixels=plan.max_pixels,
        aspect=video.sample_aspect_ratio,
        warn=source.warn,
        stretch_to=plan.stretch_to,
    )
    targets = target_times(plan, schedule.timeline)
    runs = schedule.runs(targets)
    room = schedule.timeline.count if targets is None else len(targets)
    store = FramePacker() if plan.compress else _Images(room)
    times: list[float] = []
    repeated = None
    for moment, frame in _wanted(source, schedule, targets, runs):
        if frame is repeated:
            # A long-lasting frame that several moments fall on: same image, later moment.
            store.repeat()
        else:
            store.add(converter.convert(frame))
        times.append(moment)
        repeated = frame
    return Pictures(
        images=store.images if isinstance(store, _Images) else np.empty((0, 0, 0, 3), np.uint8),
        pack=store.pack() if isinstance(store, FramePacker) else None,
        times=times,
        converter=converter,
    )


class _Images:
    """Images in one array, made at once: a list and its stack would take twice the memory.

    Args:
        room: how many there will be; a guess is enough.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._count = 0
        self._images = np.empty((0, 0, 0, 3), dtype=np.uint8)

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        return self._images[: self._count]

    def add(self, image: npt.NDArray[np.uint8]) -> None:
        if not self._count:
            self._images = np.empty((max(self._room, 1), *image.shape), dtype=np.uint8)
        elif self._count == len(self._images):
            self._images = np.concatenate([self._images, np.empty_like(self._images)])
        self._images[self._count] = image
        self._count += 1

    def repeat(self) -> None:
        self.add(self._images[self._count - 1])


def _wanted(
    source: Source,
    schedule: Schedule,
    targets: npt.NDArray[np.float64] | None,
    runs: list[Run],
) -> Iterator[tuple[float, VideoFrame]]:
    """Yield (moment, frame) for every moment, or (its time, frame) for every frame."""
    assert source.video is not None
    if targets is None or not runs:
        source.rewind()
        source.expect(schedule.positions, schedule.sizes)
        frames = _timed(source, schedule, _frames(source, source.packets(source.video)))
        if targets is None:
            yield from frames
        else:
            yield from shown_frames(frames, targets.tolist(), schedule.timeline.tolerance)
    elif len(schedule.positions):
        needed = schedule.packets_of(runs)
        source.expect(schedule.positions[needed], schedule.sizes[needed])
        for run in runs:
            yield from _run_by_seeking(source, schedule, run)
    else:
        source.rewind()
        yield from _runs_by_skipping(source, schedule, runs)


def _run_by_seeking(
    source: Source, schedule: Schedule, run: Run
) -> Iterator[tuple[float, VideoFrame]]:
    """Decode a run from the key frame that the container seeks to.

    A seek that lands too late, because the index gives decoding times only, is repeated
    from earlier and earlier, in the end from the start.
    """
    tolerance = schedule.timeline.tolerance
    last = schedule.start + run.targets[-1] + tolerance
    keys = schedule.key_times[schedule.key_times <= run.key_time]
    while True:
        if len(keys) == 0 or not source.seek(schedule.start + float(keys[-1]) + tolerance):
            keys = keys[:0]
            source.rewind()
        assert source.video is not None
        packets = itertools.takewhile(
            lambda packet: packet.dts is None or packet.dts * packet.time_base <= last,
            source.packets(source.video),
        )
        frames = _timed(
            source, schedule, _frames(source, itertools.chain(packets, [drain(source.video)]))
        )
        first = next(frames, None)
        if first is not None and (first[0] <= run.targets[0] + tolerance or len(keys) == 0):
            yield from shown_frames(itertools.chain([first], frames), run.targets, tolerance)
            return
        if len(keys) == 0:
            return
        keys = keys[:-1]


def _runs_by_skipping(
    source: Source, schedule: Schedule, runs: list[Run]
) -> Iterator[tuple[float, VideoFrame]]:
    """Read all packets in order and decode those of the runs."""
    video = source.video
    assert video is not None
    packets = (packet for packet in source.packets(video) if packet.size)
    at = 0
    for run in runs:
        for _ in itertools.islice(packets, run.first - at):
            pass  # read, not decoded
        part = itertools.islice(packets, run.stop - run.first)
        frames = _timed(source, schedule, _frames(source, itertools.chain(part, [drain(video)])))
        yield from shown_frames(frames, run.targets, schedule.timeline.tolerance)
        for _ in part:
            pass  # not needed for the run's last moment
        at = run.stop
        video.codec_context.flush_buffers()


def _timed(
    source: Source, schedule: Schedule, frames: Iterable[VideoFrame]
) -> Iterator[tuple[float, VideoFrame]]:
    """Yield (time, frame), times in seconds from the start of the video, increasing.

    A frame without a presentation time gets its decoding time; without that, or where time
    does not move on, the time one average frame after the last.
    """
    assert source.video is not None
    step = 1.0 / frame_rate(source.video)
    last: float | None = None
    for frame in frames:
        stamp = frame.pts if frame.pts is not None else frame.dts
        due = 0.0 if last is None else last + step
        if stamp is None or frame.time_base is None:
            source.warn("frames without a timestamp were timed by the average frame rate")
            time = due
        else:
            time = float(stamp * frame.time_base) - schedule.start
            if last is not None and time <= last:
                source.warn("timestamps that go backwards were replaced")
                time = due
        last = time
        yield time, frame


def _frames(source: Source, packets: Iterable[Packet[VideoStream]]) -> Iterator[VideoFrame]:
    """Decode packets; bad ones are skipped with a warning."""
    assert source.video is not None
    for packet in packets:
        try:
            yield from source.video.codec_context.decode(packet)
        except av.error.EOFError:
            return  # drained already
        except BAD_DATA:
            source.warn("some of the picture could not be decoded")
