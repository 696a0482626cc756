"""A video's time line: its sound, the moments of its frames, and the windows of its captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rayjob.reporting.charts import WIDTH, Box
from rayjob.reporting.pictures import Pictures

_WAVE = 44
_TICKS = 6
_LANE = 13
_GAP = 3
_MAX_LANES = 8


@dataclass(frozen=True, kw_only=True)
class Window:
    """Part of a video that a caption is about.

    Attributes:
        target: id of the caption's element on the page.
        css: class that gives the colour.
    """

    target: str
    name: str
    start_sec: float
    end_sec: float
    css: str


@dataclass(frozen=True, kw_only=True)
class Track:
    """A time line to draw: sound above, then the frames' moments, then the windows.

    Attributes:
        wave: bars of the sound, as the data of an SVG path.
        ticks: the moments of the frames, as the data of an SVG path.
        windows: each with the id of its caption's element.
    """

    seconds: float
    wave: str
    ticks: str
    windows: Sequence[tuple[str, Box]]
    height: int


def make_track(
    pictures: Pictures | None, windows: Sequence[Window], *, duration_sec: float | None
) -> Track | None:
    """Lay out what there is; None where there is nothing to draw or no time to draw it on."""
    pictures = pictures or Pictures()
    ends = (window.end_sec for window in windows)
    seconds = max(duration_sec or 0.0, pictures.duration_sec, *ends, 0.0)
    if seconds <= 0 or not (windows or pictures.wave or pictures.thumbnails):
        return None
    scale = WIDTH / seconds
    wave = _wave(pictures.wave, pictures.sound_sec * scale) if pictures.wave else ""
    height = _WAVE if wave else 0
    ticks = [f"M{frame.seconds * scale:.1f} {height}v5" for frame in pictures.thumbnails]
    height += _TICKS if ticks else 0
    placed = _placed(windows, scale, top=height + _GAP)
    if placed:
        height = max(int(box.y) for _, box in placed) + _LANE
    return Track(seconds=seconds, wave=wave, ticks="".join(ticks), windows=placed, height=height)


def _wave(peaks: Sequence[float], width: float) -> str:
    """Both halves of the sound's envelope, about the middle of the strip."""
    middle, step = _WAVE / 2, width / len(peaks)
    return "".join(
        f"M{(index + 0.5) * step:.1f} {middle - reach:.1f}v{2 * reach:.1f}"
        for index, peak in enumerate(peaks)
        for reach in (max(0.5, peak * (middle - 1)),)
    )


def _placed(windows: Sequence[Window], scale: float, *, top: int) -> list[tuple[str, Box]]:
    """The windows in lanes, so that those that overlap do not cover each other."""
    free = [0.0] * _MAX_LANES
    placed = []
    for window in sorted(windows, key=lambda each: (each.start_sec, each.end_sec)):
        lane = next(
            (index for index, until in enumerate(free) if until <= window.start_sec + 1e-6),
            _MAX_LANES - 1,
        )
        free[lane] = window.end_sec
        width = max(4.0, (window.end_sec - window.start_sec) * scale - _GAP)
        box = Box(
            f"window {window.css}", window.start_sec * scale, top + lane * _LANE, width,
            _LANE - _GAP, window.name,
        )  # fmt: skip
        placed.append((window.target, box))
    return placed
