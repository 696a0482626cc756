"""Charts: geometry only. The templates draw it as inline SVG, where all that comes from the
data is escaped; labels are HTML beside it, so that they stay legible on a phone, and colours
are the style sheet's, by class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rayjob import counts

WIDTH, HEIGHT = 1000, 240

_NICE = (1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0)
"""Steps of the scales: a quarter of each is a number one can read."""

_STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000)
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


class Box(NamedTuple):
    """A rectangle of WIDTH by HEIGHT: a bar, or the part of a line chart that tells a value."""

    css: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart to draw.

    Attributes:
        lines: (css class, points from left to right).
        boxes: the bars, or what tells the values of the lines.
        y_labels: from the top down.
        x_labels: from left to right, evenly spaced.
        legend: (name, css class); empty where one series needs none.
        note: a sentence under the chart.
    """

    title: str
    unit: str
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]] = ()
    boxes: Sequence[Box]
    y_labels: Sequence[str]
    x_labels: Sequence[str]
    legend: Sequence[tuple[str, str]] = ()
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
    """:func:`rayjob.counts.clock`, with tenths where the span is short."""
    if 0 < seconds < 10 and not float(seconds).is_integer():
        return f"0:0{seconds:.1f}"
    return counts.clock(seconds)


def line_chart(
    title: str, unit: str, series: Sequence[Series], *, seconds: float, note: str = ""
) -> Chart:
    """Lines over time; every series has one value per equal part of ``seconds``."""
    top = nice(max((float(each.values.max(initial=0)) for each in series), default=0))
    count = max(len(each.values) for each in series)
    whole = seconds >= 2 * _TICKS
    ticks = [seconds * tick / _TICKS for tick in range(_TICKS + 1)]
    lines = [
        (
            each.css,
            [
                (WIDTH * (index + 0.5) / count, HEIGHT * (1 - value / top))
                for index, value in enumerate(each.values)
            ],
        )
        for each in series
    ]
    boxes = []
    for index in range(count):
        said = ", ".join(
            f"{each.name} {number(each.values[index])}"
            for each in series
            if index < len(each.values)
        )
        title_ = f"{clock(seconds * (index + 0.5) / count)}: {said}"
        boxes.append(Box("hit", WIDTH * index / count, 0, WIDTH / count, HEIGHT, title_))
    return Chart(
        title=title,
        unit=unit,
        lines=lines,
        boxes=boxes,
        y_labels=_labels(top)[::-1],
        x_labels=[clock(round(tick) if whole else tick) for tick in ticks],
        legend=_legend(series),
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
    upper = _upper(sum((each.values for each in series), np.zeros(1)))
    step = next((step for step in _STEPS if step >= math.ceil(upper / 40)), _STEPS[-1])
    bins = _TICKS * math.ceil((upper + 1) / step / _TICKS)
    heights = [_binned(each.values, step, bins, percent=percent) for each in series]
    top = nice(max(float(values.max(initial=0)) for values in heights))
    if not percent:
        top = _TICKS * math.ceil(top / _TICKS)
    boxes = []
    width = WIDTH / bins
    gap = min(2.0, width * 0.12)
    for each, values in zip(series, heights, strict=True):
        for index in np.flatnonzero(values > 0):
            height = max(1.5, HEIGHT * values[index] / top)
            low = f"{index * step:,}"
            span = low if step == 1 else f"{low} to {index * step + step - 1:,}"
            if index == bins - 1 and bins * step < len(each.values):
                span = f"{low} or more"
            name = f"{each.name}, " if len(series) > 1 else ""
            share = f"{values[index]:.1f} %" if percent else f"{values[index]:,.0f}"
            boxes.append(
                Box(
                    f"bar {each.css}", index * width + gap, HEIGHT - height, width - 2 * gap,
                    height, f"{name}{span} {unit}: {share} {of}",
                )
            )  # fmt: skip
    return Chart(
        title=title,
        unit=f"{'% of ' if percent else ''}{of} by {unit}",
        boxes=boxes,
        y_labels=_labels(top)[::-1],
        x_labels=_labels(bins * step),
        legend=_legend(series),
    )


def _labels(top: float) -> list[str]:
    return [number(top * tick / _TICKS) for tick in range(_TICKS + 1)]


def _legend(series: Sequence[Series]) -> list[tuple[str, str]]:
    return [(each.name, each.css) for each in series] if len(series) > 1 else []


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
