"""Throughput over time: from the run's timeline, or else from when its rows were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

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
    lines = [each.run.timeline for each in runs]
    seconds = max(points[-1].at - points[0].at for points in lines)
    if seconds <= 0:
        return []
    if len(runs) == 1:
        (points,) = lines
        stages = [("decode", "s0", "decoded"), ("caption", "s1", "captioned")]
        if points[-1].failed:
            stages.append(("failed", "failed", "failed"))
        videos = [
            Series(name=name, css=css, values=_rate(points, total, seconds))
            for name, css, total in stages
        ]
        names, colours = [""], ["s1"]
    else:
        names = [each.run.label for each in runs]
        colours = [f"r{number}" for number in range(len(runs))]
        videos = _each(lines, names, colours, lambda points: _rate(points, "captioned", seconds))
    tokens = _each(lines, names, colours, lambda points: _rate(points, "output_tokens", seconds))
    running = _each(lines, names, colours, lambda points: _level(points, "running", seconds))
    title = "Videos per second" if len(runs) == 1 else "Videos captioned per second"
    charts = [line_chart(title, "videos/s", videos, seconds=seconds)]
    if any(series.values.any() for series in tokens):
        charts.append(line_chart("Tokens written per second", "tokens/s", tokens, seconds=seconds))
    if any(series.values.any() for series in running):
        charts.append(line_chart("Requests in the engines", "requests", running, seconds=seconds))
    return charts


def _each(
    lines: Sequence[Sequence[Point]],
    names: Sequence[str],
    colours: Sequence[str],
    values: Callable[[Sequence[Point]], _Values],
) -> list[Series]:
    return [
        Series(name=name, css=css, values=values(points))
        for points, name, css in zip(lines, names, colours, strict=True)
    ]


def _rate(points: Sequence[Point], total: str, seconds: float) -> _Values:
    """Growth of a total per second, shape (BINS,), from the run's start on."""
    times = np.array([point.at - points[0].at for point in points])
    totals = np.array([getattr(point, total) for point in points], dtype=np.float64)
    edges = np.linspace(0.0, seconds, BINS + 1)
    rates: _Values = np.diff(np.interp(edges, times, totals)) / (seconds / BINS)
    return rates


def _level(points: Sequence[Point], name: str, seconds: float) -> _Values:
    """A level in the middle of each part of the time, 0 after the run's end."""
    times = np.array([point.at - points[0].at for point in points])
    levels = np.array([getattr(point, name) for point in points], dtype=np.float64)
    middles = (np.arange(BINS) + 0.5) * seconds / BINS
    values: _Values = np.interp(middles, times, levels, right=0.0)
    return values


def _from_rows(runs: Sequence[RunTables]) -> list[Chart]:
    made = [
        (each.run.label, each.statistics.captioned_at, each.statistics.failed_at) for each in runs
    ]
    starts = [min([*captioned, *failed], default=0) for _, captioned, failed in made]
    seconds = max(
        max([*captioned, *failed], default=start) - start + 1
        for (_, captioned, failed), start in zip(made, starts, strict=True)
    )
    if not any(captioned or failed for _, captioned, failed in made):
        return []
    series = []
    for number, ((label, captioned, failed), start) in enumerate(zip(made, starts, strict=True)):
        alone = len(runs) == 1
        name, css = ("caption", "s1") if alone else (label, f"r{number}")
        series.append(Series(name=name, css=css, values=_per_second(captioned, start, seconds)))
        if alone and failed:
            values = _per_second(failed, start, seconds)
            series.append(Series(name="failed", css="failed", values=values))
    return [
        line_chart(
            "Videos per second",
            "videos/s",
            series,
            seconds=float(seconds),
            note="From the moments at which rows were made: there is no timeline of "
            + ("this run." if len(runs) == 1 else "all of these runs."),
        )
    ]


def _per_second(made: Counter[int], start: int, seconds: int) -> _Values:
    """Videos per second, shape (min(seconds, BINS),)."""
    bins = min(seconds, BINS)
    at = np.fromiter(made.keys(), dtype=np.int64, count=len(made)) - start
    counts = np.fromiter(made.values(), dtype=np.float64, count=len(made))
    values: _Values = np.histogram(at, bins=bins, range=(0, seconds), weights=counts)[0]
    return values / (seconds / bins)
