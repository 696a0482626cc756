"""Throughput over time, from the runs' timelines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rayjob.output.timeline import Point
from rayjob.reporting.charts import Chart, Series, line_chart
from rayjob.reporting.gallery import RunTables

BINS = 90

_Values = npt.NDArray[np.float64]


def throughput_charts(runs: Sequence[RunTables]) -> list[Chart]:
    """Charts of one run by stage, or of several by run; without what none of them did.

    Runs are drawn over the same clock, from the start of each.
    """
    lines = [each.run.timeline for each in runs]
    seconds = max((points[-1].at - points[0].at for points in lines if points), default=0.0)
    if seconds <= 0:
        return []
    alone = len(runs) == 1
    done, past = ("split", "split") if runs[0].run.is_split else ("caption", "captioned")
    stages = [("decode", "s0", "decoded"), (done, "s1", "captioned"),
              ("failed", "failed", "failed")]  # fmt: skip
    charts = []
    for title, unit, values, column in (
        (f"Videos {'' if alone else f'{past} '}per second", "videos/s", _rate, "captioned"),
        ("Tokens written per second", "tokens/s", _rate, "output_tokens"),
        ("Requests in the engines", "requests", _level, "running"),
    ):
        if alone:
            own = stages if column == "captioned" else [(unit, "s1", column)]
            looks = [(name, css, values(lines[0], each, seconds)) for name, css, each in own]
        else:
            looks = [
                (each.run.label, f"r{position}", values(each.run.timeline, column, seconds))
                for position, each in enumerate(runs)
                if each.run.timeline
            ]
        series = [
            Series(name=name, css=css, values=line) for name, css, line in looks if line.any()
        ]
        if series:
            charts.append(line_chart(title, unit, series, seconds=seconds))
    return charts


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
