"""How the pieces of a video look and sound, measured on small frames a few times a second."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from actors.splitting.speech import SpeechDetector

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

BLACK = 0.06
"""Mean brightness below which a frame is black. Television's black is 0 to a viewer; noise, logos
and the end of a fade are a little above."""

STILL = 1.0 / 255
"""Mean change of brightness below which nothing moves: what an encoder makes of a still."""

SOUND_SEC = 0.01
"""Length of the pieces whose energy is kept."""

SPEECH_SEC = 0.032
"""Length of the pieces that are speech or not, as Silero's detector takes them."""

_THUMBNAIL = 32
_HASHED_AT = (1 / 6, 1 / 2, 5 / 6)
_FLAT = 4.0
"""Standard deviation of a thumbnail below which a hash would be one of noise."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of a segment, as the columns of :class:`schemas.tables.SegmentRow`; None where unknown."""

    motion: float | None = None
    sharpness: float | None = None
    luminance: float | None = None
    black: float | None = None
    still: float | None = None
    audio_rms: float | None = None
    speech_share: float | None = None
    phash: str | None = None


class Watcher:
    """Measures frames and sound as they come, and keeps a few numbers and a thumbnail of each.

    Args:
        step: least time between frames that are measured, in seconds.
        speech: what tells speech, in sound of 16 kHz; None where nothing does.
    """

    def __init__(self, step: float, speech: SpeechDetector | None = None) -> None:
        self._step = step
        self._times: list[float] = []
        self._rows: list[tuple[float, ...]] = []  # brightness, sharpness, change and speed since
        self._thumbnails: list[Image] = []
        self._last: Image | None = None
        self._energy = _Sound(SOUND_SEC)
        self._speech = speech
        self._spoken = _Sound(SPEECH_SEC)
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def look(self, time: float, image: Image) -> None:
        """Measure a frame, RGB of shape (H, W, 3); times increase."""
        if self._times and time - self._times[-1] < self._step:
            return
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        change = speed = 0.0
        if self._last is not None:
            change = float(np.mean(cv2.absdiff(grey, self._last))) / 255
            if change >= STILL:
                moved = self._flow.calc(self._last, grey, np.zeros((*grey.shape, 2), np.float32))
                width = grey.shape[1] * (time - self._times[-1])
                speed = float(np.mean(np.hypot(moved[..., 0], moved[..., 1]))) / width
        sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).std()) / 255
        self._rows.append((float(grey.mean()) / 255, sharpness, change, speed))
        self._times.append(time)
        self._thumbnails.append(thumbnail(grey))
        self._last = grey

    def listen(self, time: float, sound: npt.NDArray[np.float32], rate: int) -> None:
        """Measure the sound from a moment on, float32 of shape (N,); between it and what was heard
        before there is silence.
        """
        size = round(rate * SOUND_SEC)
        whole = np.pad(sound, (0, -len(sound) % size)).reshape(-1, size)
        self._energy.add(time, np.mean(np.square(whole, dtype=np.float64), axis=1))
        if self._speech is not None:
            self._spoken.add(time, self._speech.spoken(sound))

    def scores(self, begin: float, end: float) -> Scores:
        """Of the segment from ``begin`` up to, and without, ``end``, in seconds."""
        times = np.asarray(self._times)
        inside = np.flatnonzero((times >= begin) & (times < end))
        energy = self._energy.mean(begin, end)
        heard = Scores(
            audio_rms=None if energy is None else math.sqrt(energy),
            speech_share=self._spoken.mean(begin, end),
        )
        if not len(inside):
            return heard
        brightness, sharpness, change, speed = np.asarray(self._rows)[inside].T
        # The first frame's change is from the segment before.
        moves = len(inside) > 1
        return replace(
            heard,
            motion=float(speed[1:].mean()) if moves else None,
            sharpness=float(sharpness.mean()),
            luminance=float(brightness.mean()),
            black=float(np.mean(brightness < BLACK)),
            still=float(np.mean(change[1:] < STILL)) if moves else None,
            phash=self._phash(inside),
        )

    def _phash(self, inside: npt.NDArray[np.intp]) -> str | None:
        places = (inside[int(len(inside) * share)] for share in _HASHED_AT)
        hashes = [phash(self._thumbnails[place]) for place in places]
        return None if None in hashes else "".join(f"{each:016x}" for each in hashes)


class _Sound:
    """A number for each piece of the sound, one after the other.

    Args:
        width: of a piece, in seconds.
    """

    def __init__(self, width: float) -> None:
        self._width = width
        self._pieces: list[Floats] = []

    def add(self, time: float, numbers: Floats) -> None:
        """Those of the pieces from a moment on, shape (N,); of what nothing was said about before
        it is 0.
        """
        silent = round(time / self._width) - sum(map(len, self._pieces))
        self._pieces += [np.zeros(max(0, silent)), numbers]

    def mean(self, begin: float, end: float) -> float | None:
        """Over the pieces between two moments; None where there are none."""
        if not self._pieces:
            return None
        self._pieces = [np.concatenate(self._pieces)]
        part = self._pieces[0][round(begin / self._width) : round(end / self._width)]
        return float(part.mean()) if len(part) else None


def thumbnail(grey: Image) -> Image:
    """A picture of 32 by 32 pixels of one of shape (H, W)."""
    size = (_THUMBNAIL, _THUMBNAIL)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def phash(small: Image) -> int | None:
    """The usual perceptual hash of a thumbnail: which of its 64 lowest frequencies are above their
    median, as a number of 64 bits. None for a flat picture.
    """
    if small.std() < _FLAT:
        return None
    low = cv2.dct(small.astype(np.float32))[:8, :8].reshape(-1)
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
