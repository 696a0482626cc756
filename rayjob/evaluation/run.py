"""An evaluation from start to end: inputs, suite, judge, scores, figures."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rayjob.evaluation.config import EvaluateConfig, Selection
from rayjob.evaluation.endpoint import Endpoint
from rayjob.evaluation.engine_judge import EngineJudge, judge_name
from rayjob.evaluation.inputs import Item, load_items, one_per_video
from rayjob.evaluation.labels import load_quiz, load_references, load_structured_labels
from rayjob.evaluation.measures import CONFIDENCE, Bootstrap, compare, figure
from rayjob.evaluation.outcome import (
    ALL_RUNS,
    EXIT_TOO_MANY_UNSCORED,
    Comparison,
    Evaluation,
    Unscored,
    save_comparison,
    save_evaluation,
    show_comparison,
    show_evaluation,
    verdict,
)
from rayjob.evaluation.panel import Panel
from rayjob.evaluation.scores import Score, ScoreStore
from rayjob.evaluation.suites import Suite
from rayjob.evaluation.suites.basic import BasicSuite, all_figures
from rayjob.evaluation.suites.long import LongSuite
from rayjob.evaluation.suites.structured import StructuredSuite
from rayjob.evaluation.suites.ugc import UgcSuite
from rayjob.evaluation.tablefiles import is_table
from rayjob.output.store import TableStore
from schemas.config import RUN_ID, EngineConfig
from schemas.errors import ConfigError
from schemas.recipe import Asker

Step = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One set of captions, and where its scores go."""

    name: str
    where: str
    items: list[Item]
    suite: Suite
    basic: BasicSuite
    store: TableStore
    scores: ScoreStore


def run(config: EvaluateConfig, *, console: Console) -> int:
    """Evaluate, print the figures, and the same as JSON in the last line of stdout.

    Returns:
        the exit code, 0 or 3.

    Raises:
        UsageError: something is wrong with the inputs, or the judge cannot be asked.
        RayjobError: the storage of the scores failed.
    """
    judge = _judge_name(config)
    sides = _sides(config, judged=judge is not None)
    with _progress(console) as (begin, step):
        scored = asyncio.run(_judge(config, judge, sides, begin, step))
    bootstrap = Bootstrap(resamples=config.resamples, seed=config.seed)
    evaluations = []
    for side, (scores, asked) in zip(sides, scored, strict=True):
        side.scores.finish(scores)
        evaluation = _evaluation(config, side, judge, scores, asked, bootstrap)
        where = save_evaluation(side.store, evaluation)
        show_evaluation(evaluation, console)
        console.print(f"[dim]{where}[/]", highlight=False, soft_wrap=True)
        evaluations.append(evaluation)
    if config.compare is None:
        print(evaluations[0].model_dump_json(), flush=True)
    else:
        result = _comparison(evaluations, [scores for scores, _ in scored], sides, bootstrap)
        where = save_comparison(sides[-1].store, result)
        show_comparison(result, console)
        console.print(f"[dim]{where}[/]", highlight=False, soft_wrap=True)
        print(result.model_dump_json(), flush=True)
    too_many = any(each.unscored.rate > config.max_unscored_rate for each in evaluations)
    return EXIT_TOO_MANY_UNSCORED if too_many else 0


# ---- before anything is asked


def _judge_name(config: EvaluateConfig) -> str | None:
    if config.judge.engine is not None:
        return judge_name(_judge_engine(config))
    if config.suite == "ugc" and config.judge.model is None:
        raise ConfigError("--suite ugc needs a judge: --judge-url and --judge-model, or "
                          "--judge-engine")  # fmt: skip
    return config.judge.model


def _judge_engine(config: EvaluateConfig) -> EngineConfig:
    return config.engine.model_copy(update={"model": config.judge.engine})


def _sides(config: EvaluateConfig, *, judged: bool) -> list[_Side]:
    """The set to evaluate, or the two to compare."""
    if config.compare is None:
        assert config.input is not None
        return [_side(config, config.input, config.selection, judged=judged)]
    sides = []
    for name in config.compare:
        if config.input is not None and RUN_ID.fullmatch(name) and not is_table(name):
            chosen = config.selection.model_copy(update={"run_id": name})
            sides.append(_side(config, config.input, chosen, judged=judged))
        else:
            sides.append(_side(config, name, config.selection, judged=judged))
    first, second = sides
    if first.name == second.name and first.where != second.where and config.scores is not None:
        raise ConfigError(
            f"{first.where} and {second.where} would both be scored as run {first.name}: "
            "rename one, or leave --scores out"
        )
    return sides


def _side(config: EvaluateConfig, where: str, selection: Selection, *, judged: bool) -> _Side:
    items = load_items(where, selection, config.storage)
    basic = BasicSuite(items)
    suite = basic if config.suite == "basic" else _suite(config, items, selection, judged=judged)
    root = config.scores or (None if is_table(where) else where)
    if root is None:
        raise ConfigError(f"pass --scores, a folder for the scores of {where}")
    store = TableStore(root, config.storage)
    name = _name(where, items)
    return _Side(
        name=name,
        where=where,
        items=items,
        suite=suite,
        basic=basic,
        store=store,
        scores=ScoreStore(store, suite=config.suite, run_id=name),
    )


def _suite(
    config: EvaluateConfig, items: Sequence[Item], selection: Selection, *, judged: bool
) -> Suite:
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
            suite = LongSuite(chosen, references, edges=config.buckets, judged=judged)
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
    if not is_table(where):
        return ALL_RUNS
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", posixpath.splitext(posixpath.basename(where))[0])
    return stem if RUN_ID.fullmatch(stem) else f"file-{stem}"[:100]


# ---- asking


async def _judge(
    config: EvaluateConfig, judge: str | None, sides: Sequence[_Side], begin: Step, step: Step
) -> list[tuple[list[Score], int]]:
    """Per side its scores, and how many questions were asked for them."""
    if not any(side.suite.questions for side in sides):
        return [(side.suite.computed, 0) for side in sides]
    async with _asker(config) as asker:
        found = []
        for side in sides:
            panel = Panel(
                judge=asker,
                name=judge or "",
                config=config.judge,
                answers=side.scores.load_answers(judge or ""),
                keep=side.scores.add,
                step=step,
            )
            try:
                begin(len(side.suite.questions))
                scores = await panel.ask(side.suite.questions)
                follow_ups, settled = side.suite.follow_ups(scores)
                begin(len(follow_ups))
                scores += settled + await panel.ask(follow_ups)
            finally:
                # Also after an interruption: what is judged is paid for.
                side.scores.flush()
            found.append((side.suite.computed + scores, panel.asked))
        return found


@contextlib.asynccontextmanager
async def _asker(config: EvaluateConfig) -> AsyncIterator[Asker | None]:
    if config.judge.url is not None:
        async with Endpoint(config.judge) as endpoint:
            yield endpoint
    elif config.judge.engine is not None:
        with EngineJudge(_judge_engine(config)) as pool:
            yield pool
    else:
        yield None


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[tuple[Step, Step]]:
    """How many questions there are more, and how many are settled, as a bar."""
    with Progress(
        TextColumn("judging"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("judging", total=0)

        def begin(count: int) -> None:
            progress.update(task, total=(progress.tasks[task].total or 0) + count)

        def step(count: int) -> None:
            progress.advance(task, count)

        yield begin, step


# ---- figures


def _evaluation(
    config: EvaluateConfig,
    side: _Side,
    judge: str | None,
    scores: list[Score],
    asked: int,
    bootstrap: Bootstrap,
) -> Evaluation:
    by_judge = [score for score in scores if score.judge_model is not None]
    reasons = Counter(score.reason or "?" for score in by_judge if score.score is None)
    groups = side.basic.groups(bootstrap)
    if config.suite == "basic":
        figures = all_figures(groups)
    else:
        figures = [figure(each, scores, bootstrap) for each in side.suite.measures(scores)]
    return Evaluation(
        suite=config.suite,
        run_id=side.name,
        source=side.where,
        recipe=_joined(score.recipe for score in scores),
        model=_joined(score.model for score in scores),
        judge=judge if by_judge else None,
        videos=len({score.video_id for score in scores}),
        asked=asked,
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


def _comparison(
    evaluations: Sequence[Evaluation],
    scores: Sequence[list[Score]],
    sides: Sequence[_Side],
    bootstrap: Bootstrap,
) -> Comparison:
    measures = sides[0].suite.measures(scores[0])
    differences = compare(measures, scores[0], scores[1], bootstrap)
    videos = len({each.video_id for each in scores[0]} & {each.video_id for each in scores[1]})
    first, second = evaluations
    return Comparison(
        suite=first.suite,
        a=first,
        b=second,
        videos=videos,
        differences=differences,
        verdict=verdict(differences, a=first.run_id, b=second.run_id, videos=videos),
    )


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted({name for name in names if name}))
