"""Evaluation figures of the runs, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rayjob.evaluation.measures import Figure
from rayjob.evaluation.outcome import ALL_RUNS, Comparison, Evaluation, comparison_with, load
from rayjob.reporting.charts import nice
from rayjob.reporting.runs import Run

_BASIC = "basic"
"""The suite without a judge: its figures stand in every evaluation, by recipe and level."""


@dataclass(frozen=True, kw_only=True)
class ScorePanel:
    """The figures of a suite.

    Attributes:
        figures: by run, by name.
        remarks: who judged, over how many videos.
        notes: what the evaluations say about themselves, and what was left without a score.
    """

    title: str
    figures: list[dict[str, Figure]]
    remarks: dict[str, None] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    @property
    def rows(self) -> list[tuple[str, float, list[Figure | None]]]:
        """(name of a figure, upper end of its scale, the figure by run)."""
        names = dict.fromkeys(name for figures in self.figures for name in figures)
        rows = []
        for name in names:
            by_run = [figures.get(name) for figures in self.figures]
            known = [figure for figure in by_run if figure is not None]
            highest = max(max(figure.value or 0.0, figure.high or 0.0) for figure in known)
            percent = any(figure.unit == "%" for figure in known)
            rows.append((name, 100.0 if percent else nice(highest), by_run))
        return rows


def score_panels(runs: Sequence[Run]) -> list[ScorePanel]:
    """The suites first, then what needs neither judge nor labels, by recipe and level."""
    suites: dict[str, ScorePanel] = {}
    basic: dict[str, ScorePanel] = {}

    def panel(among: dict[str, ScorePanel], title: str) -> ScorePanel:
        return among.setdefault(title, ScorePanel(title=title, figures=[{} for _ in runs]))

    for position, run in enumerate(runs):
        # What is said of this run alone replaces what is said of all runs together.
        for each in sorted(run.evaluations, key=lambda found: found.run_id != ALL_RUNS):
            if each.suite != _BASIC:
                suite = panel(suites, each.suite)
                suite.figures[position].update({figure.name: figure for figure in each.figures})
                judge = f"judged by {each.judge}, " if each.judge else ""
                suite.remarks[f"{judge}{each.videos:,} videos"] = None
                suite.notes.update(dict.fromkeys([*each.notes, *_unscored(each)]))
            for group in each.basic:
                title = ", ".join(filter(None, (group.recipe, group.level))) or _BASIC
                panel(basic, title).figures[position].update(
                    {figure.name: figure for figure in group.figures}
                )
    return [*suites.values(), *basic.values()]


def find_verdicts(runs: Sequence[Run]) -> list[str]:
    """What ``rayjob evaluate --compare`` found between any two of the runs."""
    return [
        f"{found.suite}: {found.verdict}"
        for run in runs
        for other in runs
        for found in load(run.store, comparison_with(other.run_id), Comparison)
        if found.b.run_id == run.run_id
    ]


def _unscored(evaluation: Evaluation) -> list[str]:
    missing = evaluation.unscored
    if not missing.count:
        return []
    why = ", ".join(f"{reason} ({count:,})" for reason, count in missing.reasons.items())
    return [
        f"{missing.count:,} of {missing.of:,} scores are missing: {why}. "
        "The figures stand for the rest."
    ]
