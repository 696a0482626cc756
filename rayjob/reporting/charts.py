"""Charts: series over places, and scales. The templates draw them as inline SVG in the units of the
data, where all that comes from the data is escaped; labels are HTML beside it, so that they stay
legible on a phone, and colours are the style sheet's, by class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rayjob import counts

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


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart to draw.

    Attributes:
        places: what each place on the horizontal axis stands for, N.
        top: upper end of the scale, which begins with 0.
        x_labels: from left to right, evenly spaced.
        bars: as bars; else as lines.
    """

    title: str
    unit: str
    series: Sequence[Series]
    places: Sequence[str]
    top: float
    x_labels: Sequence[str]
    bars: bool = False

    @property
    def y_labels(self) -> list[str]:
        """From the top down."""
        return _labels(self.top)[::-1]


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


def line_chart(title: str, unit: str, series: Sequence[Series], *, seconds: float) -> Chart:
    """Lines over time; every series has one value per equal part of ``seconds``."""
    part = seconds / len(series[0].values)
    whole = seconds >= 2 * _TICKS
    ticks = [seconds * tick / _TICKS for tick in range(_TICKS + 1)]
    return Chart(
        title=title,
        unit=unit,
        series=series,
        places=[clock(part * (index + 0.5)) for index in range(len(series[0].values))],
        top=_top(series),
        x_labels=[clock(round(tick) if whole else tick) for tick in ticks],
    )


def histogram(
    title: str, unit: str, series: Sequence[Series], *, of: str, percent: bool = False
) -> Chart:
    """Bars over counts by whole number: ``values[k]`` of a series is how many have k.

    Args:
        of: what is counted.
        percent: show each series as shares, which compares runs of different size.
    """
    every = np.sum([each.values for each in series], axis=0)
    # All but half a percent, with a little room; the last bar holds the rest.
    shown = max(1, int(np.searchsorted(np.cumsum(every) / every.sum(), 0.995) * 1.05))
    step = next((step for step in _STEPS if step >= math.ceil(shown / 40)), _STEPS[-1])
    bins = _TICKS * math.ceil((shown + 1) / step / _TICKS)
    at = np.minimum(np.arange(len(every)) // step, bins - 1)
    bars = []
    for each in series:
        heights = np.bincount(at, weights=each.values, minlength=bins)
        scale = 100 / max(1.0, each.values.sum()) if percent else 1.0
        bars.append(replace(each, values=heights * scale))
    top = _top(bars)
    lows = [f"{index * step:,}" for index in range(bins)]
    spans = [low if step == 1 else f"{low} to {(i + 1) * step - 1:,}" for i, low in enumerate(lows)]
    if bins * step < len(every):
        spans[-1] = f"{lows[-1]} or more"
    return Chart(
        title=title,
        unit=f"{'% of ' if percent else ''}{of} by {unit}",
        series=bars,
        places=[f"{span} {unit}" for span in spans],
        top=top if percent else _TICKS * math.ceil(top / _TICKS),
        x_labels=_labels(bins * step),
        bars=True,
    )


def _top(series: Sequence[Series]) -> float:
    return nice(max(float(each.values.max(initial=0)) for each in series))


def _labels(top: float) -> list[str]:
    return [number(top * tick / _TICKS) for tick in range(_TICKS + 1)]
