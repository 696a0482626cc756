"""A video's time line: its sound, the moments of its frames, and the windows of its captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rayjob.reporting.charts import WIDTH, Box, clock
from rayjob.reporting.gallery import Video
from rayjob.reporting.pictures import Pictures

_WAVE = 44
_TICKS = 6
_LANE = 13
_GAP = 3
_MAX_LANES = 8

_Window = tuple[str, str, dict[str, Any]]
"""Part of a video that a caption is about: id of its element, css class, row."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """A time line to draw: sound above, then the frames' moments, then the windows.

    Attributes:
        wave: bars of the sound, as the data of an SVG path.
        ticks: the moments of the frames, as the data of an SVG path.
        windows: each with the id of its caption's element on the page.
    """

    seconds: float
    wave: str
    ticks: str
    windows: Sequence[tuple[str, Box]]
    height: int


def make_track(video: Video, name: str) -> Track | None:
    """Lay out what there is; None where there is nothing to draw or no time to draw it on.

    Args:
        name: what the ids of the captions' elements on the page begin with.
    """
    pictures = video.pictures or Pictures()
    windows = _windows(video, name)
    ends = (row["end_sec"] for _, _, row in windows)
    seconds = max(video.facts["duration_sec"] or 0.0, pictures.duration_sec, *ends, 0.0)
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


def _windows(video: Video, name: str) -> list[_Window]:
    several = len(video.captions) > 1
    return [
        (
            f"{name}-{position}-{index}",
            f"r{position}" if several else "s0" if row["level"] == "clip" else "s2",
            row,
        )
        for position, captions in enumerate(video.captions)
        for index, row in enumerate(caption.row for caption in captions)
        if row["level"] != "video" and None not in (row["start_sec"], row["end_sec"])
    ]


def _wave(peaks: Sequence[float], width: float) -> str:
    """Both halves of the sound's envelope, about the middle of the strip."""
    middle, step = _WAVE / 2, width / len(peaks)
    return "".join(
        f"M{(index + 0.5) * step:.1f} {middle - reach:.1f}v{2 * reach:.1f}"
        for index, peak in enumerate(peaks)
        for reach in (max(0.5, peak * (middle - 1)),)
    )


def _placed(windows: Sequence[_Window], scale: float, *, top: int) -> list[tuple[str, Box]]:
    """The windows in lanes, so that those that overlap do not cover each other."""
    free = [0.0] * _MAX_LANES
    placed = []
    for target, css, row in sorted(
        windows, key=lambda each: (each[2]["start_sec"], each[2]["end_sec"])
    ):
        start, end = row["start_sec"], row["end_sec"]
        lane = next(
            (index for index, until in enumerate(free) if until <= start + 1e-6), _MAX_LANES - 1
        )
        free[lane] = end
        title = f"{row['level']} {row['index']}, {clock(start)} to {clock(end)}"
        width = max(4.0, (end - start) * scale - _GAP)
        y = top + lane * _LANE
        box = Box(f"window {css}", start * scale, y, width, _LANE - _GAP, title)
        placed.append((target, box))
    return placed
