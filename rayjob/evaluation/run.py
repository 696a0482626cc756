"""An evaluation from start to end: inputs, suite, judge, scores, figures."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from actors.engine.chat import ChatClient
from rayjob.evaluation.config import EvaluateConfig, Selection
from rayjob.evaluation.engine_judge import EngineJudge
from rayjob.evaluation.inputs import Item, load_items, one_per_video
from rayjob.evaluation.labels import load_quiz, load_references, load_structured_labels
from rayjob.evaluation.measures import CONFIDENCE, Bootstrap, figures_of
from rayjob.evaluation.outcome import (
    ALL_RUNS,
    EXIT_TOO_MANY_UNSCORED,
    Comparison,
    Evaluation,
    Unscored,
    comparison,
    save,
    show_comparison,
    show_evaluation,
)
from rayjob.evaluation.panel import Panel
from rayjob.evaluation.score_files import is_score_file, load_score_file
from rayjob.evaluation.scores import Score, ScoreStore
from rayjob.evaluation.suites import Suite
from rayjob.evaluation.suites.answers import AnswersSuite
from rayjob.evaluation.suites.basic import BasicSuite, all_figures
from rayjob.evaluation.suites.long import LongSuite
from rayjob.evaluation.suites.structured import StructuredSuite
from rayjob.evaluation.suites.ugc import UgcSuite
from rayjob.evaluation.tablefiles import is_table
from rayjob.output.store import TableStore
from rayjob.recipes.questions import load_questions
from schemas.config import RUN_ID
from schemas.errors import ConfigError


@dataclass(kw_only=True)
class _Side:
    """One set of captions: what is evaluated of it, and where its scores go.

    Attributes:
        table: None where they are kept nowhere, as of a file that has them already.
        scores, asked: what came of it, and how many questions were asked for that.
    """

    name: str
    where: str
    suite: Suite
    basic: BasicSuite
    table: ScoreStore | None
    scores: list[Score] = field(default_factory=list)
    asked: int = 0


def run(config: EvaluateConfig, console: Console) -> int:
    """Evaluate captions: basic statistics, judged suites, accuracy against labels.

    Exit codes: 0 done, 2 usage, 3 the share of unscored passed --max-unscored-rate, 1
    anything else. The last line on stdout is one line of JSON with all figures.
    """
    judged = config.judge.model is not None or config.judge.engine is not None
    sides = _sides(config, judged=judged)
    asker = _judge(config)
    judge = config.judge.model if asker is None else asker.name
    with Progress(
        TextColumn("judging"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        asyncio.run(_ask(config, asker, judge or "", sides, progress))
    bootstrap = Bootstrap(resamples=config.resamples, seed=config.seed)
    evaluations = []
    for side in sides:
        evaluations.append(_evaluation(config, side, judge, bootstrap))
        where = side.where
        if side.table is not None:
            side.table.finish(side.scores)
            where = save(side.table.store, evaluations[-1])
        show_evaluation(evaluations[-1], where, console)
    result: Evaluation | Comparison = evaluations[0]
    if config.compare is not None:
        scores = [side.scores for side in sides]
        result = comparison(evaluations, sides[0].suite.measures, scores, bootstrap)
        table = sides[1].table
        where = sides[1].where if table is None else save(table.store, result)
        show_comparison(result, where, console)
    print(result.model_dump_json(), flush=True)
    too_many = any(each.unscored.rate > config.max_unscored_rate for each in evaluations)
    return EXIT_TOO_MANY_UNSCORED if too_many else 0


# ---- before anything is asked


def _judge(config: EvaluateConfig) -> ChatClient | EngineJudge | None:
    if config.judge.url is not None:
        return ChatClient(config.judge.service())
    if config.judge.engine is not None:
        return EngineJudge(
            config.engine.model_copy(update={"model": config.judge.engine}),
            config.storage,
            patience=config.judge.engine_silent_sec,
        )
    return None


def _sides(config: EvaluateConfig, *, judged: bool) -> list[_Side]:
    """The set to evaluate, or the two to compare."""
    if config.compare is None:
        assert config.input is not None
        return [_side(config, config.input, judged=judged)]
    sides = []
    for name in config.compare:
        if config.input is not None and RUN_ID.fullmatch(name) and not is_table(name):
            sides.append(_side(config, config.input, judged=judged, named=name))
        else:
            sides.append(_side(config, name, judged=judged))
    first, second = sides
    if first.name == second.name and first.where != second.where and config.scores is not None:
        raise ConfigError(
            f"{first.where} and {second.where} would both be scored as run {first.name}: "
            "rename one, or leave --scores out"
        )
    return sides


def _side(config: EvaluateConfig, where: str, *, judged: bool, named: str | None = None) -> _Side:
    selection = config.selection
    if config.suite == "ugc" and is_score_file(where):
        return _scored_side(config, where)
    items = load_items(where, selection, config.storage, named=named)
    basic = BasicSuite(items)
    suite = basic if config.suite == "basic" else _suite(config, items, selection, judged=judged)
    root = config.scores or (None if is_table(where) else where)
    if root is None:
        raise ConfigError(f"pass --scores, a folder for the scores of {where}")
    store = TableStore(root, config.storage)
    name = named or _name(where, items)
    return _Side(
        name=name,
        where=where,
        suite=suite,
        basic=basic,
        table=ScoreStore(store, suite=config.suite, run_id=name),
    )


def _scored_side(config: EvaluateConfig, where: str) -> _Side:
    """A file of scores."""
    name = _name(where, ())
    store = None if config.scores is None else TableStore(config.scores, config.storage)
    return _Side(
        name=name,
        where=where,
        suite=load_score_file(where, config.storage),
        basic=BasicSuite(()),
        table=None if store is None else ScoreStore(store, suite=config.suite, run_id=name),
    )


def _suite(
    config: EvaluateConfig, items: Sequence[Item], selection: Selection, *, judged: bool
) -> Suite:
    if config.suite == "answers":
        assert config.questions is not None
        return AnswersSuite(items, load_questions(config.questions), judged=judged)
    chosen = one_per_video(items, selection)
    suite: Suite
    known: Iterable[str]
    if config.suite == "structured":
        if config.labels is None:
            raise ConfigError("--suite structured needs --labels, a table of labelled structures")
        labels = load_structured_labels(
            config.labels, column=config.label_column, storage=config.storage
        )
        suite, known = StructuredSuite(chosen, labels, judged=judged), labels
    else:
        references = (
            load_references(config.labels, column=config.label_column, storage=config.storage)
            if config.labels is not None
            else {}
        )
        quiz = load_quiz(config.questions, config.storage) if config.questions is not None else []
        if config.suite == "ugc":
            if not judged:
                raise ConfigError("--suite ugc needs a judge: --judge-url and --judge-model, or "
                                  "--judge-engine")  # fmt: skip
            if not references and not quiz:
                raise ConfigError(
                    "--suite ugc needs --labels (reference captions), --questions, or both"
                )
            suite = UgcSuite(chosen, references, quiz)
        else:
            if not references and not judged:
                raise ConfigError(
                    "--suite long needs --labels (length), a judge (quality), or both"
                )
            suite = LongSuite(
                chosen,
                references,
                edges=config.buckets,
                judged=judged,
                relevance_from_0=config.relevance_from_0,
            )
        known = [*references, *(each.video_id for each in quiz)]
    if known and suite.items.keys().isdisjoint(known):
        raise ConfigError(
            f"no video is in both the captions and the labels: a caption is of "
            f"{chosen[0].video_id!r}, a label of {next(iter(known))!r}"
        )
    return suite


def _name(where: str, items: Sequence[Item]) -> str:
    """The captions' run, else a name that a run may have: from the file, or "all"."""
    runs = {item.run_id for item in items}
    if len(runs) == 1 and RUN_ID.fullmatch(name := runs.pop()):
        return name
    if not (is_table(where) or is_score_file(where)):
        return ALL_RUNS
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", posixpath.splitext(posixpath.basename(where))[0])
    return stem if RUN_ID.fullmatch(stem) else f"file-{stem}"[:100]


# ---- asking


async def _ask(
    config: EvaluateConfig,
    asker: ChatClient | EngineJudge | None,
    judge: str,
    sides: Sequence[_Side],
    progress: Progress,
) -> None:
    """Fill in the scores of each side."""
    for side in sides:
        side.scores += side.suite.computed
    if not any(side.suite.questions for side in sides):
        return
    task = progress.add_task("judging", total=0)

    def step(new: int, settled: int) -> None:
        total = (progress.tasks[task].total or 0) + new
        progress.update(task, total=total, advance=settled)

    async with contextlib.nullcontext() if asker is None else contextlib.aclosing(asker):
        for side in sides:
            if side.table is None:
                continue
            panel = Panel(
                judge=asker,
                name=judge,
                config=config.judge,
                answers=side.table.load_answers(judge),
                keep=side.table.add,
                step=step,
            )
            try:
                scores = await panel.ask(side.suite.questions)
                follow_ups, settled = side.suite.follow_ups(scores)
                side.scores += scores + settled + await panel.ask(follow_ups)
            finally:
                # Also after an interruption: what is judged is paid for.
                side.table.flush()
            side.asked = panel.asked


# ---- figures


def _evaluation(
    config: EvaluateConfig, side: _Side, judge: str | None, bootstrap: Bootstrap
) -> Evaluation:
    scores = side.scores
    by_judge = [score for score in scores if score.judge_model is not None]
    reasons = Counter(score.reason or "?" for score in by_judge if score.score is None)
    groups = side.basic.groups(bootstrap)
    if config.suite == "basic":
        figures = all_figures(groups)
    else:
        figures = figures_of(side.suite.measures, scores, bootstrap)
    return Evaluation(
        suite=config.suite,
        run_id=side.name,
        source=side.where,
        recipe=_joined(score.recipe for score in scores),
        model=_joined(score.model for score in scores),
        judge=judge if by_judge else None,
        videos=len({score.video_id for score in scores}),
        asked=side.asked,
        figures=figures,
        unscored=Unscored(
            count=reasons.total(), of=len(by_judge), reasons=dict(reasons.most_common(20))
        ),
        notes=side.suite.notes,
        basic=groups,
        confidence=CONFIDENCE,
        resamples=bootstrap.resamples,
        seed=bootstrap.seed,
    )


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted({name for name in names if name}))
