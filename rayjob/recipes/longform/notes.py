"""What a long text is made of: captions with their times, those of frames grouped under windows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

from rayjob.recipes.longform.reducing import TimedText, stamp
from rayjob.recipes.material import Material, SourceRow
from schemas.errors import MissingMaterialError, UnusableMaterialError

FrameSets = Literal["whole", "once"]
"""Which captions of frames stand below a window: all in its time, so that windows that overlap
share some; or each only below the latest window that has begun, which is about half as long."""

_END_SEC = 0.1
"""How far from a video's end its last caption may end: the recipe's end with the video, so where
more is missing, a chain stopped."""


def notes(material: Material, *, frame_sets: FrameSets) -> list[TimedText]:
    """One text per window, with the captions of its frames below; one per frame without windows.

    Their tokens are not counted yet.

    Raises:
        UnusableMaterialError: there are windows, or else frames, and no valid caption of any.
        MissingMaterialError: the captions end before the video does.
    """
    windows = [row for row in material.rows if row.level == "clip"]
    frames = [row for row in material.rows if row.level == "frame"]
    # A caption that broke a rule is left out, and yet its window was not missed.
    end = max((_end(row) for row in windows or frames), default=0.0)
    length = material.info.duration_sec if material.info is not None else end
    if end < length - _END_SEC:
        raise MissingMaterialError(
            f"the captions end at {end:.1f} s of {length:.1f} s: finish them with "
            "python -m rayjob.caption --recipe clips --retry-failed"
        )
    windows, frames = _valid(windows), _valid(frames)
    if not windows and any(row.level == "clip" for row in material.rows):
        raise UnusableMaterialError("there is no valid caption of any window")
    if not (windows or frames):
        raise UnusableMaterialError("there is no valid caption of any window or frame")
    below = _grouped(windows, frames, frame_sets=frame_sets) if windows else {}
    texts = []
    for number, row in enumerate(windows or frames):
        told = [row.caption]
        told += [f"{stamp(_begin(frame))} {frame.caption}" for frame in below.get(number, ())]
        texts.append(
            TimedText(start_sec=_begin(row), end_sec=_end(row), text="\n".join(told), tokens=0)
        )
    return texts


def _grouped(
    windows: Sequence[SourceRow], frames: Sequence[SourceRow], *, frame_sets: FrameSets
) -> dict[int, list[SourceRow]]:
    """The frames below each window, by its number."""
    begins = [_begin(row) for row in windows]
    below: dict[int, list[SourceRow]] = {}
    for frame in frames:
        at = _begin(frame)
        latest = max(0, bisect_right(begins, at) - 1)
        holders = [latest]
        if frame_sets == "whole":
            # Of a window whose caption is left out, the frames still stand below another.
            holding = [n for n in range(latest + 1) if begins[n] <= at < _end(windows[n])]
            holders = holding or holders
        for number in holders:
            below.setdefault(number, []).append(frame)
    return below


def _valid(rows: Sequence[SourceRow]) -> list[SourceRow]:
    return [row for row in rows if row.caption_status == "ok"]


def _begin(row: SourceRow) -> float:
    return row.start_sec or 0.0


def _end(row: SourceRow) -> float:
    return row.end_sec or 0.0
