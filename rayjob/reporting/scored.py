"""Evaluation figures of the runs, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from markupsafe import Markup
from pydantic import ValidationError

from rayjob.evaluation.measures import Figure
from rayjob.evaluation.outcome import ALL_RUNS, FOLDER, Comparison, Evaluation
from rayjob.reporting.charts import interval, nice, number
from rayjob.reporting.runs import Run

_PERCENT = "%"
_BASIC = "basic"
"""The suite without a judge: its figures stand in every evaluation, by recipe and level."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One figure of one run."""

    value: str
    remark: str
    bar: Markup


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One figure, by run; None where a run has none."""

    name: str
    scores: list[Score | None]


@dataclass(frozen=True, kw_only=True)
class ScorePanel:
    """The figures of a suite.

    Attributes:
        remark: who judged, over how many videos.
        notes: what the evaluation says about itself, and what was left without a score.
    """

    title: str
    remark: str
    rows: list[ScoreRow]
    notes: list[str]


@dataclass(kw_only=True)
class _Columns:
    """A panel in the making: by run, its figures by name."""

    figures: list[dict[str, Figure]]
    remarks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def score_panels(runs: Sequence[Run]) -> list[ScorePanel]:
    """The suites first, then what needs neither judge nor labels, by recipe and level."""
    suites: dict[str, _Columns] = {}
    basic: dict[str, _Columns] = {}
    for position, run in enumerate(runs):
        # What is said of this run alone replaces what is said of all runs together.
        for each in sorted(run.evaluations, key=lambda found: found.run_id != ALL_RUNS):
            if each.suite != _BASIC:
                columns = suites.setdefault(each.suite, _Columns(figures=[{} for _ in runs]))
                columns.figures[position] |= {figure.name: figure for figure in each.figures}
                columns.remarks.append(_remark(each))
                columns.notes += [*each.notes, *_unscored(each)]
            for group in each.basic:
                title = ", ".join(part for part in (group.recipe, group.level) if part)
                columns = basic.setdefault(title or _BASIC, _Columns(figures=[{} for _ in runs]))
                columns.figures[position] |= {figure.name: figure for figure in group.figures}
    return [_panel(title, columns) for found in (suites, basic) for title, columns in found.items()]


def find_verdicts(runs: Sequence[Run]) -> list[str]:
    """What ``rayjob evaluate --compare`` found between any two of the runs."""
    verdicts = []
    for run in runs:
        for other in runs:
            suffix = f"/comparison-with-{quote(other.run_id, safe='')}.json"
            for entry in run.store.list(FOLDER, suffix=suffix):
                try:
                    found = Comparison.model_validate_json(run.store.read_bytes(entry.path))
                except ValidationError:
                    continue
                if found.b.run_id == run.run_id:
                    verdicts.append(f"{found.suite}: {found.verdict}")
    return verdicts


def _remark(evaluation: Evaluation) -> str:
    judge = f"judged by {evaluation.judge}, " if evaluation.judge else ""
    return f"{judge}{evaluation.videos:,} videos"


def _unscored(evaluation: Evaluation) -> list[str]:
    missing = evaluation.unscored
    if not missing.count:
        return []
    why = ", ".join(f"{reason} ({count:,})" for reason, count in missing.reasons.items())
    return [
        f"{missing.count:,} of {missing.of:,} scores are missing: {why}. "
        "The figures stand for the rest."
    ]


def _panel(title: str, columns: _Columns) -> ScorePanel:
    names = dict.fromkeys(name for figures in columns.figures for name in figures)
    return ScorePanel(
        title=title,
        remark="; ".join(dict.fromkeys(columns.remarks)),
        rows=[_row(name, [figures.get(name) for figures in columns.figures]) for name in names],
        notes=[*dict.fromkeys(columns.notes)],
    )


def _row(name: str, figures: Sequence[Figure | None]) -> ScoreRow:
    known = [figure for figure in figures if figure is not None]
    if any(figure.unit == _PERCENT for figure in known):
        top = 100.0
    else:
        top = nice(max(max(figure.value or 0.0, figure.high or 0.0) for figure in known))
    return ScoreRow(
        name=name,
        scores=[
            _score(figure, top=top, css=f"r{position}" if len(figures) > 1 else "s1")
            for position, figure in enumerate(figures)
        ],
    )


def _score(figure: Figure | None, *, top: float, css: str) -> Score | None:
    if figure is None or figure.value is None:
        return None
    remarks = []
    if figure.low is not None and figure.high is not None:
        remarks.append(f"{number(figure.low)} to {number(figure.high)}")
    remarks.append(f"n = {figure.n:,}")
    if figure.unscored:
        remarks.append(f"{figure.unscored:,} unscored")
    if figure.method:
        remarks.append(figure.method)
    return Score(
        value=f"{number(figure.value)} {figure.unit}".rstrip(),
        remark=", ".join(remarks),
        bar=interval(figure.value, figure.low, figure.high, top=top, css=css),
    )
