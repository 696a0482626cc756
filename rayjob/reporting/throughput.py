"""Throughput over time: from the run's timeline, or else from when its rows were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rayjob.output.timeline import Point
from rayjob.reporting.charts import Chart, Series, line_chart
from rayjob.reporting.gallery import RunTables

BINS = 90

_Values = npt.NDArray[np.float64]


def throughput_charts(runs: Sequence[RunTables]) -> list[Chart]:
    """Charts of one run by stage, or of several runs by run; none without any rows.

    Runs are drawn over the same clock, from the start of each. All are drawn from their
    timelines if all have one.
    """
    if all(len(each.run.timeline) > 1 for each in runs):
        return _from_timelines(runs)
    return _from_rows(runs)


def _from_timelines(runs: Sequence[RunTables]) -> list[Chart]:
    seconds = max(each.run.timeline[-1].at - each.run.timeline[0].at for each in runs)
    if seconds <= 0:
        return []
    stages = [("captioned", name, css) for name, css in _looks(runs, name="caption")]
    if len(runs) == 1:
        stages = [("decoded", "decode", "s0"), *stages]
        if runs[0].run.timeline[-1].failed:
            stages.append(("failed", "failed", "failed"))
    lines = [each.run.timeline for each in runs] * (len(stages) // len(runs))
    videos = [
        Series(name=name, css=css, values=_rate(points, total, seconds))
        for points, (total, name, css) in zip(lines, stages, strict=True)
    ]
    title = "Videos per second" if len(runs) == 1 else "Videos captioned per second"
    charts = [line_chart(title, "videos/s", videos, seconds=seconds)]
    for title, unit, values, column in (
        ("Tokens written per second", "tokens/s", _rate, "output_tokens"),
        ("Requests in the engines", "requests", _level, "running"),
    ):
        series = [
            Series(name=name, css=css, values=values(each.run.timeline, column, seconds))
            for each, (name, css) in zip(runs, _looks(runs, name=""), strict=True)
        ]
        if any(each.values.any() for each in series):
            charts.append(line_chart(title, unit, series, seconds=seconds))
    return charts


def _looks(runs: Sequence[RunTables], *, name: str) -> list[tuple[str, str]]:
    """Name and css class of each run's line; ``name`` is that of a run alone."""
    if len(runs) == 1:
        return [(name, "s1")]
    return [(each.run.label, f"r{number}") for number, each in enumerate(runs)]


def _rate(points: Sequence[Point], total: str, seconds: float) -> _Values:
    """Growth of a total per second, shape (BINS,), from the run's start on."""
    edges = np.linspace(0.0, seconds, BINS + 1)
    rates: _Values = np.diff(np.interp(edges, *_line(points, total))) / (seconds / BINS)
    return rates


def _level(points: Sequence[Point], name: str, seconds: float) -> _Values:
    """A level in the middle of each part of the time, 0 after the run's end."""
    middles = (np.arange(BINS) + 0.5) * seconds / BINS
    values: _Values = np.interp(middles, *_line(points, name), right=0.0)
    return values


def _line(points: Sequence[Point], name: str) -> tuple[_Values, _Values]:
    """Seconds since the run's start, and what the timeline says at each."""
    times = np.array([point.at - points[0].at for point in points])
    return times, np.array([getattr(point, name) for point in points], dtype=np.float64)


def _from_rows(runs: Sequence[RunTables]) -> list[Chart]:
    made = [(each.statistics.captioned_at, each.statistics.failed_at) for each in runs]
    if not any(map(any, made)):
        return []
    starts = [min([*captioned, *failed], default=0) for captioned, failed in made]
    seconds = max(
        max([*captioned, *failed], default=start) - start + 1
        for (captioned, failed), start in zip(made, starts, strict=True)
    )
    series = [
        Series(name=name, css=css, values=_per_second(captioned, start, seconds))
        for (name, css), (captioned, _), start in zip(
            _looks(runs, name="caption"), made, starts, strict=True
        )
    ]
    if len(runs) == 1 and made[0][1]:
        values = _per_second(made[0][1], starts[0], seconds)
        series.append(Series(name="failed", css="failed", values=values))
    note = "From the moments at which rows were made: there is no timeline of " + (
        "this run." if len(runs) == 1 else "all of these runs."
    )
    return [line_chart("Videos per second", "videos/s", series, seconds=float(seconds), note=note)]


def _per_second(made: Counter[int], start: int, seconds: int) -> _Values:
    """Videos per second, shape (min(seconds, BINS),)."""
    bins = min(seconds, BINS)
    at = np.fromiter(made.keys(), dtype=np.int64, count=len(made)) - start
    counts = np.fromiter(made.values(), dtype=np.float64, count=len(made))
    values: _Values = np.histogram(at, bins=bins, range=(0, seconds), weights=counts)[0]
    return values / (seconds / bins)
