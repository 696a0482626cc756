"""Sound: decoded, resampled to mono, and laid on the picture's time axis."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import av.error
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet

from actors.decoding.probe import BAD_DATA

GAP_SEC = 0.05
"""Jumps of the timestamps below this are rounding; above, sound is missing or overlaps."""

_BLOCK = 1 << 20

MIX_OPTIONS = {"rematrix_maxval": "1.0"}
"""Weights of the channels sum to 1; floats would otherwise add up to more than full scale."""


class SoundTrack:
    """Lay decoded sound on a time axis: sample 0 is time 0 of the picture.

    Sound before that is cut, silence fills late starts and gaps.

    Args:
        rate: samples per second to make.
        start: time 0 on the container's clock in seconds, as far as known; see ``finish``.
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
    ) -> None:
        self.rate = rate
        self._check = check
        self._start = start
        self._warn = warn
        # Zeroed pages cost nothing until they are written.
        self._samples = np.zeros(max(1, int((seconds + 1) * rate)), dtype=np.float32)
        self._cursor = 0
        self._length = 0
        self._due: float | None = None
        self._resampler: AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None
        self.frames = 0

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
                if self._due is not None:
                    self._warn("the sound has gaps or overlaps; silence fills the gaps")
                self._cursor = round((time - self._start) * self.rate)
            self._shape = shape
            self._resampler = AudioResampler(
                format="flt", layout="mono", rate=self.rate, options=MIX_OPTIONS
            )
            self._due = time
        assert self._resampler is not None and self._due is not None
        self._due += frame.samples / rate
        frame.pts = None
        for part in self._resampler.resample(frame):
            self._put(part)
        self.frames += 1

    def finish(self, start: float) -> npt.NDArray[np.float32] | None:
        """Return the samples, float32 in [-1, 1], shape (N,), or None without any.

        Args:
            start: time 0 on the container's clock in seconds, now that it is certain.
        """
        self._flush()
        samples = self._samples[: self._length]
        late = round((self._start - start) * self.rate)
        if late > 0:
            samples = np.concatenate([np.zeros(late, dtype=np.float32), samples])
        elif late < 0:
            samples = samples[-late:]
        # In parts: of all at once it would make three masks, hours of sound for nothing.
        for at in range(0, len(samples), _BLOCK):
            part = samples[at : at + _BLOCK]
            np.clip(np.nan_to_num(part, copy=False), -1.0, 1.0, out=part)
        return samples if len(samples) else None

    def _flush(self) -> None:
        resampler, self._resampler = self._resampler, None
        if resampler is not None:
            # Damaged sound may announce a shape that cannot be resampled.
            with contextlib.suppress(*BAD_DATA):
                for part in resampler.resample(None):
                    self._put(part)

    def _put(self, part: AudioFrame) -> None:
        values = part.to_ndarray().reshape(-1)
        start, stop = self._cursor, self._cursor + len(values)
        self._cursor = stop
        if stop <= 0:
            return
        if stop > len(self._samples):
            self._check(stop / self.rate)
            grown = np.zeros(max(stop, len(self._samples) * 3 // 2), dtype=np.float32)
            grown[: self._length] = self._samples[: self._length]
            self._samples = grown
        self._samples[max(start, 0) : stop] = values[max(0, -start) :]
        self._length = max(self._length, stop)


def decode_sound(
    audio: AudioStream,
    packet: Packet[AudioStream],
    track: SoundTrack,
    warn: Callable[[str], None],
) -> None:
    """Decode one packet into a track; a bad one is skipped with a warning."""
    try:
        for frame in audio.codec_context.decode(packet):
            track.add(frame)
    except av.error.EOFError:
        return  # drained already
    except BAD_DATA:
        warn("some of the sound could not be decoded")
