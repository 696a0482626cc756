"""Sound: decoded, resampled, and laid on the picture's time axis."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import av.error
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.filter import Graph
from av.packet import Packet

from actors.decoding.probe import BAD_DATA

GAP_SEC = 0.02
"""Jumps of the timestamps below this are rounding; above, sound is missing or overlaps."""

_SEAM_SEC = 0.05
"""Overlaps below this are where recordings were joined: encoders begin before the picture and end
behind it."""
LEAD_SEC, TAIL_SEC = 0.5, 0.2
"""Sound before and behind a span that is decoded with it: what comes out of a codec depends on what
went in before, and comes out a little later."""

_BLOCK = 1 << 20


@dataclass(frozen=True)
class _Piece:
    """Sound without a gap.

    Attributes:
        time: of its first sample on the container's clock, in seconds.
        packet: number of the packet that it begins with.
        first: number of its first sample.
    """

    time: float
    packet: int
    first: int


class SoundTrack:
    """Gather decoded sound, and lay it on a time axis: sample 0 is time 0 of the picture.

    Sound before that is cut, silence fills late starts and gaps.

    Args:
        rate: samples per second to make.
        channels: 1 for mono, 2 for stereo.
        start: time of sound without stamps on the container's clock, in seconds.
        seconds: expected length, to allocate once.
        check: called with the length in seconds before room is made for more than expected;
            raises where that is too much.
        warn: called with a sentence about what was worked around.
    """

    def __init__(
        self,
        *,
        rate: int,
        start: float,
        seconds: float,
        check: Callable[[float], object],
        warn: Callable[[str], None],
        channels: int = 1,
    ) -> None:
        self.rate = rate
        self._channels = channels
        self._check = check
        self._start = start
        self._warn = warn
        # Zeroed pages cost nothing until they are written.
        self._samples = np.zeros((max(1, int((seconds + 1) * rate)), channels), np.float32)
        self._length = 0
        self._pieces: list[_Piece] = []
        self._due: float | None = None
        self._mixer: Graph | None = None
        self._shape: tuple[str, str, int] | None = None
        self._moves = np.zeros(0)
        self.packets = 0

    def add(self, frame: AudioFrame) -> None:
        """Add a decoded frame; frames come in order of time."""
        rate = frame.sample_rate
        if not frame.samples or not rate:
            return
        time = self._due
        if frame.pts is not None and frame.time_base is not None:
            time = float(frame.pts * frame.time_base)
        if time is None:
            time = self._start
        shape = (frame.format.name, frame.layout.name, rate)
        jump = self._due is None or abs(time - self._due) > GAP_SEC
        if jump or shape != self._shape:
            self._flush()
            if jump:
                self._pieces.append(_Piece(time, self.packets, self._length))
                self._due = time
            self._shape = shape
            self._mixer = mixer(*shape, to=self.rate, channels=self._channels)
        assert self._mixer is not None and self._due is not None
        self._due += frame.samples / rate
        frame.pts = None
        self._mixer.push(frame)
        self._pull()

    def move(self, moves: npt.NDArray[np.float64]) -> None:
        """Move the sound to the clock that goes through the whole file.

        Args:
            moves: seconds to add to the times of each packet's sound, shape (P,).
        """
        self._moves = moves

    def finish(self, start: float) -> npt.NDArray[np.float32] | None:
        """Return the samples, float32 in [-1, 1], shape (N, channels), or None without any.

        Args:
            start: time 0 on the file's clock, in seconds.

        Raises:
            MediaLimitError: longer than ``check`` allows.
        """
        self._flush()
        begins = [round((self._time(piece) - start) * self.rate) for piece in self._pieces]
        firsts = [piece.first for piece in self._pieces] + [self._length]
        samples = self._samples[: self._length]
        if len(begins) == 1 and begins[0] <= 0:
            samples = samples[-begins[0] :]
        else:
            samples = self._laid_out(samples, begins, firsts)
        # In parts: of all at once it would make three masks, hours of sound for nothing.
        for at in range(0, len(samples), _BLOCK):
            part = samples[at : at + _BLOCK]
            np.clip(np.nan_to_num(part, copy=False), -1.0, 1.0, out=part)
        return samples if len(samples) else None

    def _time(self, piece: _Piece) -> float:
        """When a piece begins on the file's clock."""
        if len(self._moves) == 0:
            return piece.time
        return piece.time + float(self._moves[min(piece.packet, len(self._moves) - 1)])

    def _laid_out(
        self, samples: npt.NDArray[np.float32], begins: list[int], firsts: list[int]
    ) -> npt.NDArray[np.float32]:
        """Return the pieces where they belong; where two overlap, the later one."""
        ends = [begin + firsts[at + 1] - firsts[at] for at, begin in enumerate(begins)]
        length = max([0, *ends])
        self._check(length / self.rate)
        if any(
            not -_SEAM_SEC * self.rate <= begin - end <= GAP_SEC * self.rate
            for begin, end in zip(begins[1:], ends, strict=False)
        ):
            self._warn("the sound has gaps or overlaps; silence fills the gaps")
        track = np.zeros((length, self._channels), dtype=np.float32)
        for at, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            if end > 0:
                track[max(begin, 0) : end] = samples[firsts[at] + max(-begin, 0) : firsts[at + 1]]
        return track

    def _flush(self) -> None:
        if self._mixer is not None:
            # Damaged sound may announce a shape that cannot be resampled.
            with contextlib.suppress(*BAD_DATA):
                self._mixer.push(None)
                self._pull()
            self._mixer = None

    def _pull(self) -> None:
        """Take what the mixer has ready."""
        assert self._mixer is not None
        with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                part = cast(AudioFrame, self._mixer.pull()).to_ndarray()
                self._put(part.astype(np.float32, copy=False).reshape(-1, self._channels))

    def _put(self, values: npt.NDArray[np.float32]) -> None:
        stop = self._length + len(values)
        if stop > len(self._samples):
            self._check(stop / self.rate)
            room = max(stop, len(self._samples) * 3 // 2)
            grown = np.zeros((room, self._channels), dtype=np.float32)
            grown[: self._length] = self._samples[: self._length]
            self._samples = grown
        self._samples[self._length : stop] = values
        self._length = stop


def mixer(sample_format: str, layout: str, rate: int, *, to: int, channels: int = 1) -> Graph:
    """Return a filter graph from sound of some shape to float32, samples of a moment side by side.

    Layouts that swresample has no weights for, because places are unknown (nine channels,
    ambisonics), are mixed evenly, each channel into all.

    Args:
        sample_format, layout: FFmpeg's names.
        rate, to: samples per second before and after.
        channels: after; 1 for mono, 2 for stereo.
    """
    given, made = AudioLayout(layout).nb_channels, "mono" if channels == 1 else "stereo"
    mean = "+".join(f"c{channel}" for channel in range(given))
    evenly = "|".join([made, *(f"c{channel}<{mean}" for channel in range(channels))])
    placed = not layout.startswith(("ambisonic", f"{given} channels"))
    with contextlib.suppress(*BAD_DATA):
        if placed:
            return _mixer(sample_format, layout, rate, to, made, None)
    return _mixer(sample_format, layout, rate, to, made, evenly)


def _mixer(
    sample_format: str, layout: str, rate: int, to: int, made: str, weights: str | None
) -> Graph:
    graph = Graph()
    nodes = [
        graph.add(
            "abuffer", sample_rate=str(rate), sample_fmt=sample_format, channel_layout=layout,
            time_base=f"1/{rate}",
        ),
        *([graph.add("pan", weights)] if weights else []),
        # Weights sum to 1; floats would otherwise add up to more than full scale.
        graph.add("aresample", rematrix_maxval="1.0"),
        graph.add("aformat", sample_rates=str(to), sample_fmts="flt", channel_layouts=made),
        graph.add("abuffersink"),
    ]  # fmt: skip
    graph.link_nodes(*nodes)
    graph.configure()
    return graph


def decode_sound(
    audio: AudioStream,
    packet: Packet[AudioStream],
    track: SoundTrack,
    warn: Callable[[str], None],
) -> None:
    """Decode one packet into a track; a bad one is skipped with a warning."""
    try:
        frames = audio.codec_context.decode(packet)
        for frame in frames:
            _keep_layout(frame)
        for frame in frames:
            track.add(frame)
    except av.error.EOFError:
        return  # drained already
    except BAD_DATA:
        warn("some of the sound could not be decoded")
    finally:
        track.packets += packet.size > 0


def _keep_layout(frame: AudioFrame) -> None:
    """Keep PyAV from freeing a frame's channel layout twice.

    PyAV copies the layout and frees both, which ends the process where the channels come in an
    order of their own, as those of QuickTime may: then their list is on the heap. The copy is
    never freed.
    """
    if "(" in frame.layout.name:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(frame.layout))
