"""Pictures and sound of a part, encoded anew: H.264 and AAC."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from actors.decoding.decoder import Part, read_span
from actors.decoding.pictures import frames_of
from actors.decoding.probe import Source
from actors.decoding.sound import SoundTrack
from actors.decoding.streams import crop_of
from actors.decoding.upright import FrameConverter
from schemas.errors import CorruptMediaError, MediaLimitError

_TICK = Fraction(1, 90_000)
_OPTIONS = {"crf": "18", "preset": "veryfast", "bf": "0", "threads": "1"}
"""Nearly what it was, and frames stored in the order they are shown in, so that the last one ends
when the clip does. Clips are encoded side by side, each by one core."""

_KEY_FRAMES_SEC = 2.0
_BT709 = 1

_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000)
"""Samples per second that AAC knows."""

_OTHER_RATE = 48_000
_FRAME = 1024


def encode_picture(
    source: Source, part: Part, output: OutputContainer
) -> Iterator[Packet[VideoStream]]:
    """Add a stream for the frames that are shown in a part, and return its packets.

    Raises:
        CorruptMediaError: not one can be decoded.
    """
    schedule, video = part.content.schedule, source.video
    assert schedule is not None and video is not None
    converter = FrameConverter(
        max_pixels=source.limits.max_frame_pixels,
        aspect=video.sample_aspect_ratio,
        warn=source.warn,
        crop=crop_of(source.container, video.index),
    )
    span = None if part.is_whole else (part.begin, part.end)
    images = (
        (time, _even(converter.convert(frame))) for time, frame in frames_of(source, schedule, span)
    )
    first = next(images, None)
    if first is None:
        raise CorruptMediaError("no frame of the picture can be decoded")
    # Only a hint: each frame bears its own time.
    rate = max(Fraction(1), Fraction(schedule.timeline.rate).limit_denominator(1001))
    stream = output.add_stream("libx264", rate=rate, options=_OPTIONS)
    assert isinstance(stream, VideoStream)
    stream.height, stream.width = first[1].shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.gop_size = max(1, round(_KEY_FRAMES_SEC * rate))
    context = stream.codec_context
    context.time_base = _TICK
    context.color_range, context.colorspace = int(ColorRange.MPEG), int(Colorspace.ITU709)
    context.color_primaries = context.color_trc = _BT709
    ends = schedule.timeline.duration if part.is_whole else part.end
    return _encoded(stream, itertools.chain([first], images), part.begin, ends)


def _encoded(
    stream: VideoStream,
    images: Iterator[tuple[float, npt.NDArray[np.uint8]]],
    begin: float,
    end: float,
) -> Iterator[Packet[VideoStream]]:
    # The first frame may be one that was shown before the part already.
    due = 0
    lasting: deque[int] = deque()  # of the frames that the encoder has not handed out yet

    def told(packets: list[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
        for packet in packets:
            packet.duration = lasting.popleft()
            yield packet

    following = itertools.chain(images, [(end, None)])
    _, image = next(following)
    for time, later in following:
        until = max(due + 1, round((time - begin) / _TICK))
        assert image is not None
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = due, _TICK
        lasting.append(until - due)
        yield from told(stream.encode(frame))
        due, image = until, later
    yield from told(stream.encode(None))


def _even(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Without the last row or column where their number is odd, as H.264 halves the colours; a
    single one is doubled.
    """
    if min(image.shape[:2]) < 2:
        image = image.repeat(2, axis=0).repeat(2, axis=1)
    height, width = image.shape[:2]
    return np.ascontiguousarray(image[: height // 2 * 2, : width // 2 * 2])


@dataclass(frozen=True, kw_only=True)
class SoundEncoder:
    """The sound of a part, decoded.

    Attributes:
        samples: float32 in [-1, 1], shape (N, channels), from the part's begin.
        rate: per second.
    """

    samples: npt.NDArray[np.float32]
    rate: int

    @classmethod
    def of(cls, source: Source, part: Part) -> SoundEncoder | None:
        """Decode the sound; None where there is none in the part.

        Raises:
            MediaLimitError: it takes more memory than the decoding process may use.
        """
        assert source.audio is not None
        rate = source.audio.rate if source.audio.rate in _RATES else _OTHER_RATE
        channels = min(2, source.audio.layout.nb_channels or 1)

        def check(seconds: float) -> None:
            held_mb = int(4 * channels * rate * seconds) >> 20
            if held_mb > source.limits.memory_mb:
                raise MediaLimitError(
                    f"{seconds:.0f} s of sound take {held_mb} MB, more than the "
                    f"{source.limits.memory_mb} of decode.limits.memory_mb"
                )

        check(part.end - part.begin)
        track = SoundTrack(
            rate=rate,
            channels=channels,
            start=part.start,
            seconds=part.end - part.begin,
            check=check,
            warn=source.warn,
        )
        begin = part.start + part.begin
        read_span(source, part.content, track, begin, part.start + part.end)
        samples = track.finish(begin)
        if samples is None:
            return None
        return cls(samples=samples[: round((part.end - part.begin) * rate)], rate=rate)

    def encode(self, output: OutputContainer) -> Iterator[Packet[AudioStream]]:
        """Add a stream for it, and return its packets."""
        layout = "mono" if self.samples.shape[1] == 1 else "stereo"
        stream = output.add_stream("aac", rate=self.rate, layout=layout)
        return self._encoded(stream, layout)

    def _encoded(self, stream: AudioStream, layout: str) -> Iterator[Packet[Any]]:
        for at in range(0, len(self.samples), _FRAME):
            planes = np.ascontiguousarray(self.samples[at : at + _FRAME].T)
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            frame.sample_rate, frame.time_base = self.rate, Fraction(1, self.rate)
            frame.pts = at
            yield from stream.encode(frame)
        yield from stream.encode(None)
