"""A video's time line: its sound, the moments of its frames, and the windows of its captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from actors.storage.segments import segment_begin
from rayjob.reporting.gallery import Video
from rayjob.reporting.pictures import Pictures

_MAX_LANES = 8


class Window(NamedTuple):
    """Part of a video that a caption is about.

    Attributes:
        target: id of the caption's element on the page.
        css: class that gives the colour.
        lane: from the top down, so that windows that overlap do not cover each other.
        row: the caption's.
    """

    target: str
    css: str
    lane: int
    row: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Track:
    """A time line to draw, in seconds.

    Attributes:
        begin: where it begins in the video: later than 0 for a segment.
        seconds: its length.
    """

    begin: float
    seconds: float
    windows: list[Window]


def make_track(video: Video, name: str) -> Track | None:
    """Lay out what there is; None where there is nothing to draw or no time to draw it on.

    Args:
        name: what the ids of the captions' elements on the page begin with.
    """
    pictures = video.pictures or Pictures()
    windows = _windows(video, name)
    begin = segment_begin(video.facts["uri"] or "")
    ends = (window.row["end_sec"] - begin for window in windows)
    seconds = max(video.facts["duration_sec"] or 0.0, pictures.duration_sec, *ends, 0.0)
    if seconds <= 0 or not (windows or pictures.wave or pictures.thumbnails):
        return None
    return Track(begin=begin, seconds=seconds, windows=windows)


def _windows(video: Video, name: str) -> list[Window]:
    several = len(video.captions) > 1
    found = [
        Window(
            f"{name}-{position}-{index}",
            f"r{position}" if several else "s0" if row["level"] == "clip" else "s2",
            0,
            row,
        )
        for position, captions in enumerate(video.captions)
        for index, row in enumerate(caption.row for caption in captions)
        if row["level"] != "video" and None not in (row["start_sec"], row["end_sec"])
    ]
    free = [0.0] * _MAX_LANES
    placed = []
    for window in sorted(found, key=lambda each: (each.row["start_sec"], each.row["end_sec"])):
        start = window.row["start_sec"] + 1e-6
        lane = next((lane for lane, until in enumerate(free) if until <= start), _MAX_LANES - 1)
        free[lane] = window.row["end_sec"]
        placed.append(window._replace(lane=lane))
    return placed
