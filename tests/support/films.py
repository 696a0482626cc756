"""Films whose cuts, dissolves, fades, flashes and looks are known, by rendering."""

from __future__ import annotations

import io
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
import numpy.typing as npt

FPS = 24
WIDTH, HEIGHT = 192, 108
SOUND_RATE = 16_000

_VOWELS = np.array(
    [(730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (530, 1840, 2480), (300, 870, 2240)]
)
"""The lowest three resonances of a man's a, e, i, e and u, in Hz, after Peterson and Barney."""

_WIDTHS = (80, 90, 120)
_SYLLABLES = 4
"""In a second."""

_BREATH = 0.02
"""Of a pulse."""

Join = Literal["cut", "dissolve", "fade"]
_JOIN_FRAMES = {"cut": 0, "dissolve": 12, "fade": 10}

_BLACK_FROM = {"dissolve": 5, "fade": -2}
"""How many frames after its begin a dark shot is black, and before its end as well."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A picture that moves sideways.

    Attributes:
        frames: how long it is.
        seed: of its picture.
        speed: pixels per frame; 0 for a still.
        blur: radius in pixels.
        light: mean brightness, from 0 to 1; 0 is black.
        flash: frame at which it goes white for two frames; None for none.
        join: how the next shot comes.
        loud: amplitude of its tone.
        voiced: whether it has a voice instead.
    """

    frames: int
    seed: int
    speed: int = 1
    blur: float = 0.0
    light: float = 0.5
    flash: int | None = None
    join: Join = "cut"
    loud: float = 0.25
    voiced: bool = False

    @property
    def is_dark(self) -> bool:
        return self.light < 0.1

    def images(self, first: int = 0, stop: int | None = None) -> list[Image]:
        """Frames of it, also of before its begin and behind its end."""
        wide = WIDTH + 64
        rng = np.random.default_rng(self.seed)
        colours = rng.normal(size=(9, 16, 3)).astype(np.float32)
        canvas = cv2.resize(colours, (wide, HEIGHT), interpolation=cv2.INTER_CUBIC)
        fine = 0.6 * rng.normal(size=(HEIGHT // 3, wide // 3, 1)).astype(np.float32)
        canvas += 0.5 * cv2.resize(fine, (wide, HEIGHT), interpolation=cv2.INTER_CUBIC)[..., None]
        tint = rng.uniform(0.75, 1.25, size=3)
        canvas = np.clip(self.light * (1 + 0.35 * canvas) * tint / tint.mean(), 0, 1) * 255
        if self.blur:
            canvas = cv2.GaussianBlur(canvas, (0, 0), self.blur)
        shown = []
        for number in range(first, self.frames if stop is None else stop):
            moved = np.roll(canvas, number * self.speed, axis=1)[:, :WIDTH]
            if self.flash is not None and self.flash <= number < self.flash + 2:
                moved = np.full_like(moved, 250)
            shown.append(moved.astype(np.uint8))
        return shown


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What is true of a stretch between two cuts, from frame ``first`` to before ``stop``."""

    first: int
    stop: int
    shots: tuple[Shot, ...]


@dataclass
class Film:
    """Shots in a row, rendered."""

    shots: list[Shot]
    images: list[Image] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)

    def __post_init__(self) -> None:
        first, own = 0, list[Shot]()
        for number, shot in enumerate(self.shots):
            self.images += shot.images()
            own.append(shot)
            if number + 1 == len(self.shots) or shot.join == "cut":
                self.pieces.append(Piece(first=first, stop=len(self.images), shots=tuple(own)))
                first, own = len(self.images), []
        at = 0
        for shot, following in zip(self.shots, [*self.shots[1:], None], strict=True):
            at += shot.frames
            if following is not None:
                self._join(at, shot, following)

    def _join(self, at: int, shot: Shot, following: Shot) -> None:
        count = _JOIN_FRAMES[shot.join]
        if shot.join == "fade":
            for number in range(count):
                self.images[at - 1 - number] = _scaled(self.images[at - 1 - number], number / count)
                self.images[at + number] = _scaled(self.images[at + number], number / count)
        elif shot.join == "dissolve":
            half = count // 2
            old = shot.images(shot.frames - half, shot.frames + half)
            new = following.images(-half, half)
            for number, (one, other) in enumerate(zip(old, new, strict=True)):
                share = (number + 1) / (count + 1)
                mixed = (1 - share) * one + share * other
                self.images[at - half + number] = mixed.astype(np.uint8)

    @property
    def cuts(self) -> list[float]:
        """Times of the first frames behind cuts, in seconds."""
        return [piece.first / FPS for piece in self.pieces[1:]]

    @property
    def fades(self) -> list[float]:
        """The middles of the black between shots that come and go softly, in seconds."""
        found = []
        begins = itertools.accumulate((shot.frames for shot in self.shots), initial=0)
        for begin, (before, shot) in zip(
            [*begins][1:], itertools.pairwise(self.shots), strict=False
        ):
            if shot.is_dark and "cut" not in (before.join, shot.join) and shot != self.shots[-1]:
                late, early = _BLACK_FROM[before.join], _BLACK_FROM[shot.join]
                found.append(begin + (late + shot.frames - early) / 2)
            elif before.join == "fade" and not before.is_dark and not shot.is_dark:
                found.append(begin)
        return [frame / FPS for frame in found]

    def encoded(
        self, *, width: int = WIDTH, height: int = HEIGHT, crf: int = 20, gop: int = 48
    ) -> bytes:
        """As an MP4 file, with a tone in each shot."""
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as output:
            options = {"crf": str(crf), "preset": "veryfast", "g": str(gop)}
            video = output.add_stream("libx264", rate=FPS, options=options)
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            sound = output.add_stream("aac", rate=SOUND_RATE, layout="mono")
            for image in self.images:
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                output.mux(video.encode(frame.reformat(width, height)))
            frame = av.AudioFrame.from_ndarray(self.sound()[None], "fltp", "mono")
            frame.sample_rate = SOUND_RATE
            output.mux(sound.encode(frame))
            for stream in (video, sound):
                output.mux(stream.encode(None))
        return file.getvalue()

    def sound(self) -> npt.NDArray[np.float32]:
        counts = [shot.frames * SOUND_RATE // FPS for shot in self.shots]
        tone = np.sin(2 * math.pi * 440 * np.arange(sum(counts)) / SOUND_RATE)
        for shot, count, end in zip(self.shots, counts, np.cumsum(counts), strict=True):
            part = tone[end - count : end]
            part[:] = shot.loud * (voice(count / SOUND_RATE) if shot.voiced else part)
        return tone.astype(np.float32)


def _scaled(image: Image, light: float) -> Image:
    return (image * light).astype(np.uint8)


def voice(seconds: float) -> npt.NDArray[np.float32]:
    """Vowels: pulses through the resonances of a mouth, of an amplitude of 1, shape (N,)."""
    times = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    at = (times * _SYLLABLES).astype(int)
    vowels = _VOWELS[np.arange(at.max() + 1) % len(_VOWELS)]
    come = np.clip(times * _SYLLABLES % 1 * 4, 0, 1)[:, None]
    resonances = vowels[at] * come + vowels[np.maximum(at - 1, 0)] * (1 - come)
    pitch = 120 * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * times))
    sound = np.diff(np.floor(np.cumsum(pitch) / SOUND_RATE), prepend=0)
    sound += _BREATH * np.random.default_rng(0).normal(size=len(sound))
    for resonance, width in zip(resonances.T, _WIDTHS, strict=True):
        sound = _through(sound, resonance / SOUND_RATE, width / SOUND_RATE)
    sound *= np.clip(1.5 * np.sin(np.pi * (times * _SYLLABLES % 1)), 0, 1)
    return (sound / np.abs(sound).max()).astype(np.float32)


def _through(
    sound: npt.NDArray[np.float64], frequencies: npt.NDArray[np.float64], width: float
) -> npt.NDArray[np.float64]:
    """A resonance of two poles, after Klatt; frequency and width are shares of the rate."""
    decay = np.exp(-np.pi * width)
    turn = 2 * decay * np.cos(2 * np.pi * frequencies)
    heard = np.zeros(len(sound) + 2)
    for at, (given, back) in enumerate(zip(sound, turn, strict=True)):
        gain = 1 - back + decay**2
        heard[at + 2] = gain * given + back * heard[at + 1] - decay**2 * heard[at]
    return heard[2:]


def film(number: int) -> Film:
    """One of the films of the set: with cuts, and with what is not one."""
    rng = np.random.default_rng(1000 + number)
    shots = list[Shot]()
    for place in range(int(rng.integers(3, 6))):
        frames = int(rng.integers(36, 72))
        kind = ("plain", "still", "blurred", "flash", "dark", "plain")[int(rng.integers(6))]
        if kind == "dark" and shots and shots[-1].is_dark:
            kind = "plain"  # nobody sees a cut from black to black
        shots.append(
            Shot(
                frames=frames,
                seed=100 * number + place,
                speed=0 if kind == "still" else int(rng.integers(1, 4)),
                blur=4.0 if kind == "blurred" else 0.0,
                light=0.02 if kind == "dark" else float(rng.uniform(0.3, 0.7)),
                flash=frames // 2 if kind == "flash" else None,
                join=("cut", "cut", "dissolve", "fade")[int(rng.integers(4))],
                loud=float(rng.uniform(0.2, 0.4)),
            )
        )
    return Film(shots)


def write(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)
