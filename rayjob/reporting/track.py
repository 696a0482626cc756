"""A video's time line: its sound, the moments of its frames, and the windows of its captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rayjob.reporting.charts import WIDTH, clock
from rayjob.reporting.pictures import Pictures

_WAVE = 44
_LANE = 13
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
    """A drawn time line.

    Attributes:
        labels: of its beginning and its end.
    """

    svg: Markup
    labels: tuple[str, str]


def draw_track(
    pictures: Pictures | None, windows: Sequence[Window], *, duration_sec: float | None
) -> Track | None:
    """Draw what there is; None where there is nothing to draw or no time to draw it on."""
    seconds = max(
        duration_sec or 0.0,
        pictures.duration_sec if pictures else 0.0,
        *(window.end_sec for window in windows),
        0.0,
    )
    if seconds <= 0 or not (windows or (pictures and (pictures.wave or pictures.thumbnails))):
        return None
    scale = WIDTH / seconds
    shapes, height = Markup(""), 0
    if pictures is not None and pictures.wave:
        shapes += _wave(pictures.wave, pictures.sound_sec * scale)
        height = _WAVE
    if pictures is not None and pictures.thumbnails:
        ticks = "".join(f"M{frame.seconds * scale:.1f} {height}v5" for frame in pictures.thumbnails)
        shapes += Markup('<path class="tick" d="{}"/>').format(ticks)
        height += 6
    if windows:
        drawn, lanes = _windows(windows, scale, top=height + 3)
        shapes += drawn
        height += 3 + lanes * _LANE
    svg = Markup(
        '<svg class="track" viewBox="0 0 {} {}" height="{}" preserveAspectRatio="none" '
        'role="img" aria-label="time line">{}</svg>'
    ).format(WIDTH, height, height, shapes)
    return Track(svg=svg, labels=("0:00", clock(seconds)))


def _wave(peaks: Sequence[float], width: float) -> Markup:
    """Both halves of the sound's envelope, about the middle of the strip."""
    middle, step = _WAVE / 2, width / len(peaks)
    bars = "".join(
        f"M{(index + 0.5) * step:.1f} {middle - reach:.1f}v{2 * reach:.1f}"
        for index, peak in enumerate(peaks)
        for reach in (max(0.5, peak * (middle - 1)),)
    )
    return Markup('<path class="wave" d="{}"/>').format(bars)


def _windows(windows: Sequence[Window], scale: float, *, top: int) -> tuple[Markup, int]:
    """Windows in lanes, so that those that overlap do not cover each other."""
    free = [0.0] * _MAX_LANES
    used = 1
    shapes = Markup("")
    for window in sorted(windows, key=lambda each: (each.start_sec, each.end_sec)):
        lane = next(
            (index for index, until in enumerate(free) if until <= window.start_sec + 1e-6),
            _MAX_LANES - 1,
        )
        free[lane] = window.end_sec
        used = max(used, lane + 1)
        width = max(4.0, (window.end_sec - window.start_sec) * scale - 3)
        shapes += Markup(
            '<rect class="window {}" data-target="{}" x="{:.1f}" y="{}" width="{:.1f}" '
            'height="{}"><title>{}</title></rect>'
        ).format(
            window.css, window.target, window.start_sec * scale, top + lane * _LANE,
            width, _LANE - 3, window.name,
        )  # fmt: skip
    return shapes, used
