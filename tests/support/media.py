"""Odd clips with known content, rendered with PyAV: every frame carries its own number.

A frame's upper half is a row of twelve blocks, dark or bright: its number in binary, which
survives lossy codecs, scaling and 8-bit conversion. The lower half is one colour.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

Image = npt.NDArray[np.uint8]
BITS = 12
GREY = (128, 128, 128)


def numbered(number: int, *, width: int = 96, height: int = 64, colour: Any = GREY) -> Image:
    """Return the image of a number, uint8 RGB, shape (height, width, 3)."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = colour
    for bit in range(BITS):
        bright = bool(number >> bit & 1)
        left, right = width * bit // BITS, width * (bit + 1) // BITS
        image[: height // 2, left:right] = 230 if bright else 25
    return image


def number_of(image: Image) -> int:
    """Read the number back from an image of any size."""
    height, width = image.shape[:2]
    row = image[height // 8 : height * 3 // 8].mean(axis=(0, 2))
    centres = [int(width * (bit + 0.5) / BITS) for bit in range(BITS)]
    return sum(int(row[centre] > 128) << bit for bit, centre in enumerate(centres))


def numbers_of(images: Iterable[Image]) -> list[int]:
    """Read the numbers of several images."""
    return [number_of(image) for image in images]


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A sound track: a tone with bursts at known times.

    Attributes:
        seconds: length.
        start: time of its first sample on the container's clock, in seconds.
        tone: frequency in Hz.
        bursts: (from, to) in seconds of the track when the tone sounds; all of it if empty.
        gap: (from, to) in seconds of the track that are left out of the file.
        metadata: of the stream.
        default: whether the stream is marked as the default one.
    """

    seconds: float
    start: float = 0.0
    tone: float = 440.0
    rate: int = 44_100
    layout: str = "mono"
    codec: str = "aac"
    bursts: Sequence[tuple[float, float]] = ()
    gap: tuple[float, float] | None = None
    default: bool | None = None

    def samples(self) -> npt.NDArray[np.float32]:
        """Return the samples, float32, shape (N,)."""
        time = np.arange(int(self.seconds * self.rate)) / self.rate
        wave = 0.5 * np.sin(2 * np.pi * self.tone * time)
        if self.bursts:
            wave *= sum(((time >= a) & (time < b)).astype(float) for a, b in self.bursts)
        return wave.astype(np.float32)


def render(
    path: Path,
    *,
    count: int = 50,
    rate: int = 25,
    width: int = 96,
    height: int = 64,
    codec: str | None = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 12,
    b_frames: int = 0,
    times: Sequence[float] | None = None,
    start: float = 0.0,
    image: Callable[[int], Image] | None = None,
    sounds: Sequence[Sound] = (),
    codec_options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    container_format: str | None = None,
    configure: Callable[[VideoStream], None] = lambda stream: None,
    prepare: Callable[[av.VideoFrame], av.VideoFrame] = lambda frame: frame,
) -> Path:
    """Render a clip.

    Args:
        path: where to; its extension names the container unless ``container_format`` does.
        count: frames, numbered from 0.
        rate: frames per second.
        codec: encoder, or None for a clip without a picture.
        times: when each frame is shown, in seconds; evenly by default.
        start: when the first of evenly timed frames is shown, in seconds.
        image: makes the RGB image of a number; :func:`numbered` by default.
        sounds: sound tracks.
        configure: last changes to the stream before it is opened.
        prepare: last changes to a frame before it is encoded.
    """
    draw = image or (lambda number: numbered(number, width=width, height=height))
    options = dict(container_options or {})
    with (
        _priority_kept(),
        av.open(str(path), "w", format=container_format, options=options) as output,
    ):
        video = None
        if codec is not None:
            video = output.add_stream(codec, rate=rate)
            assert isinstance(video, VideoStream)
            video.width, video.height, video.pix_fmt = width, height, pix_fmt
            video.gop_size = gop
            video.codec_context.max_b_frames = b_frames
            if times is not None:
                video.codec_context.time_base = Fraction(1, 90_000)
            video.options = dict(codec_options or {})
            if codec == "libx264":
                defaults = {"preset": "ultrafast", "crf": "18", "bf": str(b_frames)}
                video.options = {**defaults, **video.options}
            configure(video)
        tracks = [_add_track(output, sound) for sound in sounds]
        if video is not None:
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
                if times is not None:
                    frame.pts = round(times[number] * 90_000)
                    frame.time_base = Fraction(1, 90_000)
                else:
                    frame.pts, frame.time_base = number + round(start * rate), Fraction(1, rate)
                output.mux(video.encode(prepare(frame)))
            output.mux(video.encode(None))
        for track, sound in zip(tracks, sounds, strict=True):
            _write_sound(output, track, sound)
    return path


@contextlib.contextmanager
def _priority_kept() -> Iterator[None]:
    """Give this thread its scheduling policy back: as root, the encoder of AV1 takes the highest
    priority there is, and whatever the process starts later inherits it.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _add_track(output: Any, sound: Sound) -> AudioStream:
    track = output.add_stream(sound.codec, rate=sound.rate)
    assert isinstance(track, AudioStream)
    track.layout = sound.layout
    if sound.default is not None:
        from av.stream import Disposition

        track.disposition = Disposition.default if sound.default else Disposition(0)
    return track


def _write_sound(output: Any, track: AudioStream, sound: Sound) -> None:
    wave = sound.samples()
    channels = av.AudioLayout(sound.layout).nb_channels
    for at in range(0, len(wave), 1024):
        if sound.gap is not None and sound.gap[0] <= at / sound.rate < sound.gap[1]:
            continue
        part = np.repeat(wave[None, at : at + 1024], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(part), format="fltp", layout=sound.layout
        )
        frame.sample_rate = sound.rate
        frame.time_base = Fraction(1, sound.rate)
        frame.pts = at + round(sound.start * sound.rate)
        output.mux(track.encode(frame))
    output.mux(track.encode(None))


def loudness(samples: npt.NDArray[np.float32], rate: int, start: float, stop: float) -> float:
    """Return the root mean square of a stretch of sound, given in seconds."""
    part = samples[round(start * rate) : round(stop * rate)].astype(np.float64)
    return float(np.sqrt(np.mean(part**2))) if len(part) else 0.0


def shift_stamps(source: Path, target: Path, *, seconds: float) -> Path:
    """Copy a clip with all timestamps moved, for containers that allow it."""
    with av.open(str(source)) as opened, av.open(str(target), "w") as output:
        streams = {
            stream.index: output.add_stream_from_template(stream) for stream in opened.streams
        }
        for packet in opened.demux():
            if packet.dts is None or packet.pts is None:
                continue
            move = round(seconds / packet.time_base)
            packet.pts, packet.dts = packet.pts + move, packet.dts + move
            packet.stream = streams[packet.stream_index]
            output.mux(packet)
    return target
