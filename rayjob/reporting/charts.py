"""Charts as inline SVG: geometry only. Labels are HTML beside it, so that they stay legible
on a phone, and colours are the style sheet's, by class.

Everything that comes from the data goes through markupsafe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

WIDTH, HEIGHT = 1000, 240

_NICE = (1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0)
"""Steps of the scales: a quarter of each is a number one can read."""

_TICKS = 4


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line, or one set of bars.

    Attributes:
        css: class that gives the colour.
        values: shape (N,), one for each place on the horizontal axis.
    """

    name: str
    css: str
    values: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawn chart.

    Attributes:
        y_labels: from the top down.
        x_labels: from left to right, evenly spaced.
        legend: (name, css class); empty where one series needs none.
        note: a sentence under the chart.
    """

    title: str
    unit: str
    svg: Markup
    y_labels: tuple[str, ...]
    x_labels: tuple[str, ...]
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""


def nice(value: float) -> float:
    """The smallest round number that is not below ``value``."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _NICE if step * power >= value * (1 - 1e-9))


def number(value: float) -> str:
    """A number for a label: few digits, thousands separated."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def clock(seconds: float) -> str:
    """A span of time: 0:07, 12:30, 3:05:00, and tenths where it is short."""
    if 0 < seconds < 10 and not float(seconds).is_integer():
        return f"0:0{seconds:.1f}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def line_chart(
    title: str, unit: str, series: Sequence[Series], *, seconds: float, note: str = ""
) -> Chart:
    """Lines over time; every series has one value per equal part of ``seconds``."""
    top = nice(max((float(each.values.max(initial=0)) for each in series), default=0))
    count = max(len(each.values) for each in series)
    whole = seconds >= 2 * _TICKS
    ticks = [seconds * tick / _TICKS for tick in range(_TICKS + 1)]
    shapes = Markup("")
    for position, each in enumerate(series):
        points = [
            (WIDTH * (index + 0.5) / count, HEIGHT * (1 - value / top))
            for index, value in enumerate(each.values)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        if position == 0 and points:
            first, last = points[0][0], points[-1][0]
            shapes += Markup('<polygon class="area {}" points="{} {:.1f},{} {:.1f},{}"/>').format(
                each.css, path, last, HEIGHT, first, HEIGHT
            )
        shapes += Markup('<polyline class="line {}" points="{}"/>').format(each.css, path)
    for index in range(count):
        said = ", ".join(
            f"{each.name} {number(each.values[index])}"
            for each in series
            if index < len(each.values)
        )
        shapes += Markup(
            '<rect class="hit" x="{:.1f}" y="0" width="{:.1f}" height="{}">'
            "<title>{}: {}</title></rect>"
        ).format(
            WIDTH * index / count, WIDTH / count, HEIGHT,
            clock(seconds * (index + 0.5) / count), said,
        )  # fmt: skip
    return Chart(
        title=title,
        unit=unit,
        svg=_plot(shapes, title),
        y_labels=_y_labels(top),
        x_labels=tuple(clock(round(tick) if whole else tick) for tick in ticks),
        legend=tuple((each.name, each.css) for each in series) if len(series) > 1 else (),
        note=note,
    )


def histogram(
    title: str, unit: str, series: Sequence[Series], *, of: str, percent: bool = False
) -> Chart:
    """Bars over counts by whole number: ``values[k]`` of a series is how many have k.

    Args:
        of: what is counted, for the tooltips.
        percent: show each series as shares, which compares runs of different size.
    """
    total = sum((each.values for each in series), np.zeros(1))
    upper = _upper(total)
    step = max(1, math.ceil(upper / 40))
    step = next(
        nice_step for nice_step in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000)
        if nice_step >= step or nice_step == 1000
    )  # fmt: skip
    bins = _TICKS * math.ceil((upper + 1) / step / _TICKS)
    heights = [_binned(each.values, step, bins, percent=percent) for each in series]
    top = nice(max(float(values.max(initial=0)) for values in heights))
    if not percent:
        top = _TICKS * math.ceil(top / _TICKS)
    shapes = Markup("")
    width = WIDTH / bins
    gap = min(2.0, width * 0.12)
    for each, values in zip(series, heights, strict=True):
        for index, value in enumerate(values):
            if value <= 0:
                continue
            height = max(1.5, HEIGHT * value / top)
            more = index == bins - 1 and (bins * step) < len(each.values)
            low = f"{index * step:,}"
            span = low if step == 1 else f"{low} to {index * step + step - 1:,}"
            shapes += Markup(
                '<rect class="bar {}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}">'
                "<title>{}{}: {} {}</title></rect>"
            ).format(
                each.css, index * width + gap, HEIGHT - height, width - 2 * gap, height,
                f"{each.name}, " if len(series) > 1 else "",
                f"{low} or more {unit}" if more else f"{span} {unit}",
                f"{value:.1f} %" if percent else f"{value:,.0f}", of,
            )  # fmt: skip
    labels = [bins * step * tick / _TICKS for tick in range(_TICKS + 1)]
    return Chart(
        title=title,
        unit=f"{'% of ' if percent else ''}{of} by {unit}",
        svg=_plot(shapes, title),
        y_labels=_y_labels(top),
        x_labels=tuple(number(label) for label in labels),
        legend=tuple((each.name, each.css) for each in series) if len(series) > 1 else (),
    )


def stacked(shares: Sequence[tuple[str, str, int]]) -> Markup:
    """One horizontal bar divided as the counts say: (name, css class, count)."""
    total = sum(count for _, _, count in shares)
    shapes, at = Markup(""), 0.0
    for name, css, count in shares:
        width = WIDTH * count / total if total else 0.0
        shapes += Markup(
            '<rect class="bar {}" x="{:.2f}" y="0" width="{:.2f}" height="10">'
            "<title>{}: {:,}</title></rect>"
        ).format(css, at, width, name, count)
        at += width
    return Markup(
        '<svg class="stack" viewBox="0 0 {} 10" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(WIDTH, ", ".join(f"{name}: {count}" for name, _, count in shares), shapes)


def interval(
    value: float, low: float | None, high: float | None, *, top: float, css: str
) -> Markup:
    """A bar from 0 to ``value`` with its confidence interval."""
    scale = WIDTH / top
    shapes = Markup('<rect class="bar {}" x="0" y="3" width="{:.1f}" height="8"/>').format(
        css, max(0.0, min(value, top)) * scale
    )
    if low is not None and high is not None:
        shapes += Markup(
            '<rect class="whisker" x="{:.1f}" y="6" width="{:.1f}" height="2"/>'
        ).format(max(0.0, low) * scale, max(0.0, min(high, top) - max(0.0, low)) * scale)
    return Markup(
        '<svg class="interval" viewBox="0 0 {} 14" preserveAspectRatio="none" '
        'aria-hidden="true"><rect class="rail" x="0" y="3" width="{}" height="8"/>{}</svg>'
    ).format(WIDTH, WIDTH, shapes)


def _plot(shapes: Markup, title: str) -> Markup:
    grid = Markup("").join(
        Markup('<line class="grid" x1="0" x2="{}" y1="{}" y2="{}"/>').format(
            WIDTH, HEIGHT * tick / _TICKS, HEIGHT * tick / _TICKS
        )
        for tick in range(_TICKS + 1)
    )
    return Markup(
        '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}{}</svg>'
    ).format(WIDTH, HEIGHT, title, grid, shapes)


def _y_labels(top: float) -> tuple[str, ...]:
    return tuple(number(top * (_TICKS - tick) / _TICKS) for tick in range(_TICKS + 1))


def _upper(counts: npt.NDArray[np.float64]) -> int:
    """The number up to which bars are drawn: all but half a percent, with a little room."""
    if not counts.sum():
        return 1
    cumulated = np.cumsum(counts) / counts.sum()
    return max(1, int(np.searchsorted(cumulated, 0.995) * 1.05))


def _binned(
    counts: npt.NDArray[np.float64], step: int, bins: int, *, percent: bool
) -> npt.NDArray[np.float64]:
    padded = np.zeros(max(len(counts), bins * step))
    padded[: len(counts)] = counts
    values: npt.NDArray[np.float64] = padded[: bins * step].reshape(bins, step).sum(axis=1)
    values[-1] += padded[bins * step :].sum()
    return 100 * values / max(1.0, counts.sum()) if percent else values
