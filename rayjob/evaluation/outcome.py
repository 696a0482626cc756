"""What an evaluation says: ``evaluation.json``, and tables for a person.

::

    ROOT/scores/_evaluations/suite=S/run_id=ID/evaluation.json
    ROOT/scores/_evaluations/suite=S/run_id=ID/comparison-with-A.json

Readers of Hive partitions pass over a folder that begins with an underscore, so that a
plain read of the scores meets Parquet only. An evaluation over several runs stands right in
``suite=S``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import Field, ValidationError
from rich.console import Console
from rich.table import Table

from rayjob.evaluation.measures import Bootstrap, Difference, Figure, Measure, Result, compare
from rayjob.evaluation.scores import Score
from rayjob.output.store import TableStore
from rayjob.settings.terminal import printable
from schemas.tables import utc_now

FOLDER = "scores/_evaluations"
EVALUATION = "evaluation.json"
ALL_RUNS = "all"
"""In place of a run id where the captions of several runs, or of none, are evaluated."""

EXIT_TOO_MANY_UNSCORED = 3

_Kept = TypeVar("_Kept", bound=Result)


class Unscored(Result):
    """What the judge was asked and left without a score.

    Attributes:
        count, of: scores that are missing, of all that were asked of the judge.
        reasons: reason -> how often, the most frequent first.
    """

    count: int = 0
    of: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Share of the judge's scores that are missing."""
        return self.count / self.of if self.of else 0.0


class GroupFigures(Result):
    """The basic figures of one recipe, model and level."""

    recipe: str
    model: str
    level: str
    figures: list[Figure]


class Evaluation(Result):
    """One evaluated set of captions.

    Attributes:
        run_id: the captions' run, or a name for the set; the partition of the scores.
        model, recipe: who wrote the captions, several joined by ", "; "" where unknown.
        judge: the judge's model, None without one.
        videos: videos with a caption that was judged.
        asked: questions that went to the judge this time; the rest were answered before.
        figures: of the suite, in the order of its published table.
        basic: of every recipe, model and level in the input.
    """

    suite: str
    run_id: str
    source: str
    recipe: str
    model: str
    judge: str | None
    videos: int
    asked: int
    figures: list[Figure]
    unscored: Unscored
    notes: list[str]
    basic: list[GroupFigures]
    confidence: float
    resamples: int
    seed: int
    created_at: datetime = Field(default_factory=utc_now)


class Comparison(Result):
    """Two evaluations over the videos that both have.

    Attributes:
        verdict: one sentence.
    """

    suite: str
    a: Evaluation
    b: Evaluation
    videos: int
    differences: list[Difference]
    verdict: str
    created_at: datetime = Field(default_factory=utc_now)


def comparison(
    evaluations: Sequence[Evaluation],
    measures: Sequence[Measure],
    scores: Sequence[Sequence[Score]],
    bootstrap: Bootstrap,
) -> Comparison:
    """Compare two evaluations by their scores."""
    a, b = evaluations
    differences = compare(measures, scores[0], scores[1], bootstrap)
    videos = len({each.video_id for each in scores[0]} & {each.video_id for each in scores[1]})
    said = verdict(differences, a=a.run_id, b=b.run_id, videos=videos)
    return Comparison(suite=a.suite, a=a, b=b, videos=videos, differences=differences, verdict=said)


def comparison_with(run_id: str) -> str:
    """Name of the file of a comparison with an earlier run."""
    return f"comparison-with-{quote(run_id, safe='')}.json"


def save(store: TableStore, result: Evaluation | Comparison) -> str:
    """Write ``evaluation.json``, or a comparison beside that of its second run; its URL."""
    if isinstance(result, Comparison):
        run_id, name = result.b.run_id, comparison_with(result.a.run_id)
    else:
        run_id, name = result.run_id, EVALUATION
    run = "" if run_id == ALL_RUNS else f"/run_id={quote(run_id, safe='')}"
    path = f"{FOLDER}/suite={result.suite}{run}/{name}"
    store.write_bytes(path, result.model_dump_json(indent=2).encode() + b"\n")
    return store.url_of(path)


def load(store: TableStore, name: str, kind: type[_Kept]) -> Iterator[_Kept]:
    """Every evaluation or comparison of a root whose file has a name; a file that cannot be read
    as one is passed over.
    """
    for entry in store.list(FOLDER, suffix=f"/{name}"):
        with contextlib.suppress(ValidationError):
            yield kind.model_validate_json(store.read_bytes(entry.path))


def verdict(differences: Sequence[Difference], *, a: str, b: str, videos: int) -> str:
    """The comparison in one sentence."""
    if videos == 0:
        return f"{a} and {b} have no video in common: nothing to compare."
    over = f"over {videos} videos"
    real = [each for each in differences if each.real]
    if not real:
        if any(each.p is not None for each in differences):
            return f"No difference between {a} and {b} is more than noise, {over}."
        return f"Too few videos to tell {a} and {b} apart, {over}."
    parts = [_change(each) for each in real]
    return f"From {a} to {b}, more than noise, {over}: {', '.join(parts)}."


def _change(each: Difference) -> str:
    change = each.difference or 0.0
    unit = {"%": " points", "": ""}.get(each.unit, f" {each.unit}")
    return f"{each.name} {'fell' if change < 0 else 'rose'} by {abs(change):.3g}{unit}"


# ---- for a person


def show_evaluation(evaluation: Evaluation, where: str, console: Console) -> None:
    """Print the figures, and where they are written."""
    if evaluation.suite != "basic":
        by = f", judged by {evaluation.judge}" if evaluation.judge else ""
        title = f"{evaluation.suite}: {evaluation.run_id} ({evaluation.videos} videos{by})"
        console.print(_figures_table(title, evaluation.figures))
    for group in evaluation.basic:
        name = " ".join(part for part in (group.recipe, group.level, group.model) if part)
        console.print(_figures_table(f"basic: {name}", group.figures))
    for note in evaluation.notes:
        console.print(f"[yellow]note:[/] {_plain(note)}", highlight=False)
    unscored = evaluation.unscored
    if unscored.count:
        console.print(
            f"[yellow]unscored:[/] {unscored.count} of {unscored.of} scores "
            f"({unscored.rate:.1%}); the figures stand for the rest",
            highlight=False,
        )
        for reason, count in list(unscored.reasons.items())[:5]:
            console.print(f"  {count} x {_plain(reason)}", highlight=False, soft_wrap=True)
    console.print(f"[dim]{_plain(where)}[/]", highlight=False, soft_wrap=True)


def show_comparison(comparison: Comparison, where: str, console: Console) -> None:
    """Print the differences and the verdict, and where they are written."""
    title = f"{comparison.suite}: {comparison.a.run_id} (A) and {comparison.b.run_id} (B)"
    table = _table(title, "A", "B", "B - A", "95 % interval", "p", "n", last="verdict")
    for each in comparison.differences:
        table.add_row(
            _plain(each.name),
            _number(each.a),
            _number(each.b),
            _number(each.difference, sign=True),
            _range(each.low, each.high),
            _number(each.p, digits=3),
            f"{each.n}",
            each.verdict,
            style="bold" if each.real else "",
        )
    console.print(table)
    console.print(_plain(comparison.verdict), highlight=False, soft_wrap=True)
    console.print(f"[dim]{_plain(where)}[/]", highlight=False, soft_wrap=True)


def _figures_table(title: str, figures: Sequence[Figure]) -> Table:
    unscored = any(each.unscored for each in figures)
    more = ("unscored",) if unscored else ()
    table = _table(title, "value", "95 % interval", "n", *more, last="by")
    for each in figures:
        unit = f" {each.unit}" if each.unit and each.value is not None else ""
        table.add_row(
            _plain(each.name),
            f"{_number(each.value)}{unit}",
            _range(each.low, each.high),
            f"{each.n}",
            *([f"{each.unscored}"] if unscored else []),
            each.method,
        )
    return table


def _table(title: str, *numbers: str, last: str) -> Table:
    """A table of figures by name; columns of numbers, and a last one of words."""
    table = Table(title=_plain(title), title_justify="left", title_style="bold")
    table.add_column("figure")
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(last)
    return table


def _number(value: float | None, *, digits: int = 2, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def _range(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.2f} – {high:.2f}"


def _plain(text: Any) -> str:
    """Text from the data: no bracket in it is markup, and no character commands a terminal."""
    return printable(" ".join(str(text).split())).replace("[", r"\[")
