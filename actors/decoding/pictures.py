"""The picture: finding a video's frames on its time axis and decoding the wanted ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import av.error
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from actors.decoding.changes import at_changes, frames_from
from actors.decoding.probe import BAD_DATA, Source, drain
from actors.decoding.sampling import shown_frames, span_times, target_times
from actors.decoding.schedule import Run, Schedule
from actors.decoding.streams import crop_of
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


Pick = Callable[
    [Iterable[tuple[float, VideoFrame]], Sequence[float], float], Iterator[tuple[float, VideoFrame]]
]


def decode_pictures(
    source: Source,
    schedule: Schedule,
    plan: SamplingPlan,
    span: tuple[float, float] | None = None,
) -> Pictures:
    """Decode the frames that ``plan`` wants.

    Args:
        span: begin and end of what is wanted, in seconds from the first frame; None for all. No
            frame is taken that is due at its end or later, and one from before its begin only
            where it is still shown then.

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
        crop=crop_of(source.container, video.index),
        quick=plan.change is not None,
    )
    if span is None:
        targets = moments = target_times(plan, schedule.timeline)
        until = math.inf
    else:
        rounding = schedule.rounding
        until = span[1] - rounding
        moments = span_times(plan, schedule.timeline, span[1] - span[0])
        targets = np.minimum(span[0] + moments + rounding, max(span[0], until - rounding))
    room = schedule.timeline.count if targets is None else len(targets)
    store = FramePacker() if plan.compress else _Images(room if plan.change is None else _FEW)
    times: list[float] = []
    repeated: VideoFrame | None = None
    if plan.change is None:
        runs = schedule.runs(targets)
        wanted = _wanted(source, schedule, targets, runs, until, shown_frames)
    else:
        # Every frame is looked at; which are taken is for ``at_changes``.
        frames, wanted = frames_of(source, schedule, span), iter(())
        begin = 0.0 if span is None else span[0]
        for time, image in at_changes(frames, converter.convert, plan, schedule.timeline.rate):
            store.add(image)
            times.append(max(0.0, time - begin))
    for number, (moment, frame) in enumerate(wanted):
        if frame is repeated:
            # A long-lasting frame that several moments fall on: same image, later moment.
            store.repeat()
        else:
            store.add(converter.convert(frame))
        times.append(moment if moments is None else float(moments[number]))
        repeated = frame
    if span is not None and targets is not None and repeated is not None:
        shown = None if len(schedule.turns) else _time_of(schedule, 0, repeated)
        is_earlier = shown is not None and shown < span[0] - schedule.timeline.tolerance
        if is_earlier and schedule.holds_frames(span[0], float(targets[-1])):
            times = []  # not one of its own frames can be decoded: this is what was before
    return Pictures(
        images=store.images if isinstance(store, _Images) else np.empty((0, 0, 0, 3), np.uint8),
        pack=store.pack() if isinstance(store, FramePacker) else None,
        times=times,
        converter=converter,
    )


def frames_of(
    source: Source, schedule: Schedule, span: tuple[float, float] | None
) -> Iterator[tuple[float, VideoFrame]]:
    """Yield (time, frame) for all frames of a span, as they leave the decoder; times in seconds
    from the first frame of the video, increasing.

    Args:
        span: as :func:`decode_pictures`: the first frame is the one shown at its begin.
    """
    if span is None:
        return _from_start(source, schedule)
    begin, until = span[0] + schedule.rounding, span[1] - schedule.rounding
    ends = np.array([begin, max(begin, until)])
    runs = schedule.runs(ends)
    if runs:
        runs = [replace(runs[0], stop=runs[-1].stop, targets=tuple(ends.tolist()))]
    return _wanted(source, schedule, ends, runs, until, frames_from)


_FEW = 256


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
    until: float,
    pick: Pick,
) -> Iterator[tuple[float, VideoFrame]]:
    """Yield (moment, frame) for every moment, or (its time, frame) for every frame that is due
    before ``until``.

    Args:
        pick: chooses among the frames of a run, given its moments.
    """
    if targets is None:
        yield from _from_start(source, schedule)
        return
    tolerance = schedule.timeline.tolerance
    done = 0
    if runs:
        begin = _by_seeking if len(schedule.positions) else _by_skipping
        for run, frames in begin(source, schedule, runs):
            frames = itertools.takewhile(lambda timed: timed[0] < until, frames)
            first = next(frames, None)
            if first is None or first[0] > run.targets[0] + tolerance:
                # Decoding could not begin where the container says that it can.
                break
            yield from pick(itertools.chain([first], frames), run.targets, tolerance)
            done += len(run.targets)
    if done < len(targets):
        frames = itertools.takewhile(lambda timed: timed[0] < until, _from_start(source, schedule))
        yield from pick(frames, targets[done:].tolist(), tolerance)


def _from_start(source: Source, schedule: Schedule) -> Iterator[tuple[float, VideoFrame]]:
    """Yield (time, frame) for all frames."""
    source.rewind()
    source.expect(schedule.positions, schedule.sizes)
    packets = _numbered(schedule, _as_before(source, schedule))
    first = None
    for time, frame in _timed(source, schedule, _frames(source, packets, whole=True)):
        if first is None:
            first = time
            if time > 1.5 / schedule.timeline.rate:
                source.warn("the beginning of the picture cannot be decoded")
        yield time, frame


def _by_seeking(
    source: Source, schedule: Schedule, runs: list[Run]
) -> Iterator[tuple[Run, Iterator[tuple[float, VideoFrame]]]]:
    """Yield each run and its frames, decoded from the key frame that the container seeks to.

    A seek that lands too late, because the index gives decoding times only, is repeated from
    the key frame before, and the one before that.
    """
    needed = schedule.packets_of(runs)
    source.expect(schedule.positions[needed], schedule.sizes[needed])
    tolerance = schedule.timeline.tolerance
    for run in runs:
        last = schedule.start + run.targets[-1] + tolerance
        frames: Iterator[tuple[float, VideoFrame]] = iter(())
        for key_time in schedule.key_times[schedule.key_times <= run.key_time][::-1][:3].tolist():
            if not source.seek(schedule.start + key_time + tolerance):
                break
            assert source.video is not None
            packets = _until(last, source.packets(source.video))
            decoded = _frames(source, itertools.chain(packets, [drain(source.video)]))
            frames = _timed(source, schedule, _complete(decoded))
            first = next(frames, None)
            if first is not None:
                frames = itertools.chain([first], frames)
                if first[0] <= run.targets[0] + tolerance:
                    break
        yield run, frames


def _until(last: float, packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    """Yield packets up to the first that is decoded after a moment on the container's clock."""
    return itertools.takewhile(
        lambda packet: packet.dts is None or packet.dts * packet.time_base <= last, packets
    )


def _by_skipping(
    source: Source, schedule: Schedule, runs: list[Run]
) -> Iterator[tuple[Run, Iterator[tuple[float, VideoFrame]]]]:
    """Yield each run and its frames; all packets are read in order, those of runs decoded."""
    source.rewind()
    video = source.video
    assert video is not None
    packets = (packet for packet in _as_before(source, schedule) if packet.size)
    numbered = _numbered(schedule, packets)
    at = 0
    for run in runs:
        for _ in itertools.islice(numbered, run.first - at):
            pass  # read, not decoded
        part = itertools.islice(numbered, run.stop - run.first)
        decoded = _frames(source, itertools.chain(part, [drain(video)]))
        last = run.targets[-1] + schedule.timeline.tolerance
        yield run, _timed(source, schedule, _complete(decoded), until=last)
        for _ in part:
            pass  # not needed for the run's last moment
        at = run.stop
        video.codec_context.flush_buffers()


def _as_before(source: Source, schedule: Schedule) -> Iterator[Packet[VideoStream]]:
    """Yield the picture's packets, with all streams read as they were when the packets' times were
    noted: behind damaged sound, reading goes on elsewhere than where the sound is left out.
    """
    video = source.video
    assert video is not None
    streams = source.container.streams if len(schedule.due) else [video]
    for packet in source.packets(*streams):
        if packet.stream_index == video.index:
            yield packet


def _numbered(
    schedule: Schedule, packets: Iterable[Packet[VideoStream]]
) -> Iterator[Packet[VideoStream]]:
    """Stamp packets with their numbers, so that a frame tells which packet it came in."""
    number = 0
    for packet in packets:
        if len(schedule.due) and packet.size:
            packet.pts, packet.dts = number, None
            number += 1
        yield packet


def _complete(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    """Leave out the frames before the first that refers to no other.

    Not every packet that is marked as a key frame is one: packed B-frames leave such marks, and so
    do pictures that are refreshed little by little. Decoders make grey up for what is missing, or
    trust that all has been refreshed when it has not.
    """
    return itertools.dropwhile(
        lambda frame: frame.is_corrupt or not (frame.key_frame or frame.pict_type == PictureType.I),
        frames,
    )


def _timed(
    source: Source,
    schedule: Schedule,
    frames: Iterable[VideoFrame],
    *,
    until: float = math.inf,
) -> Iterator[tuple[float, VideoFrame]]:
    """Yield (time, frame), times in seconds from the start of the video, increasing.

    A frame without a time gets one of an average frame after the last.

    Args:
        until: the first frame after this moment ends it.
    """
    step = 1.0 / schedule.timeline.rate
    last: float | None = None
    for number, frame in enumerate(frames):
        time = _time_of(schedule, number, frame)
        if time is not None and len(schedule.due) and math.isnan(time):
            continue  # hidden, or the second half of another
        if time is None or (last is not None and time <= last):
            source.warn("frames without a timestamp, or an earlier one, were timed by the rate")
            time = 0.0 if last is None else last + step
        if last is not None and time > until:
            return
        if last is not None and schedule.frames_between(last, time) > 1:
            source.warn("some of the picture could not be decoded")
        if last is None:
            # Where decoding begins, FFmpeg misses what was before.
            source.forget_log()
        elif frame.is_corrupt or source.last_log():
            source.warn(f"some of the picture is damaged: {source.last_log()}".rstrip(": "))
        last = time
        yield time, frame


def _time_of(schedule: Schedule, number: int, frame: VideoFrame) -> float | None:
    """When a frame is shown, in seconds from the first, None where nothing says so.

    Args:
        number: how many frames came before it.
    """
    if len(schedule.turns):
        return float(schedule.turns[number]) if number < len(schedule.turns) else None
    if len(schedule.due):
        return None if frame.pts is None else float(schedule.due[frame.pts])
    stamp = frame.pts if frame.pts is not None else frame.dts
    if stamp is None or frame.time_base is None:
        return None
    return float(stamp * frame.time_base) - schedule.start


def _frames(
    source: Source, packets: Iterable[Packet[VideoStream]], *, whole: bool = False
) -> Iterator[VideoFrame]:
    """Decode packets; bad ones are skipped with a warning.

    Args:
        whole: whether this is all of the video. A part's first packets may refer to what was
            before it.
    """
    assert source.video is not None
    began = whole
    for packet in packets:
        try:
            for frame in source.video.codec_context.decode(packet):
                began = True
                yield frame
        except av.error.EOFError:
            return  # drained already
        except BAD_DATA:
            if began:
                source.warn("some of the picture could not be decoded")
