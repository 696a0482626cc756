"""Suite ``basic``: what needs neither labels nor a judge, per recipe and model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rayjob.evaluation import fields
from rayjob.evaluation.inputs import Item
from rayjob.evaluation.measures import Bootstrap, Figure, Measure, figures_of, median_figure
from rayjob.evaluation.outcome import GroupFigures
from rayjob.evaluation.scores import Score
from rayjob.evaluation.suites import Suite
from rayjob.recipes.rules import complete, no_endless_repetition, non_empty, schema_problem
from rayjob.recipes.wording import is_finished, words
from schemas.recipe import Answer

_GRAM = 4
_MEASURES = (
    ("words", 1.0, "words"),
    ("repetition", 100.0, "%"),
    ("distinct words", 100.0, "%"),
    ("abnormal", 100.0, "%"),
    ("status ok", 100.0, "%"),
    ("valid structure", 100.0, "%"),
)


class BasicSuite(Suite):
    """Word counts, repetition, vocabulary, abnormal captions, validity of structures."""

    def __init__(self, items: Sequence[Item]) -> None:
        super().__init__()
        # By recipe, model and level.
        self._scores: dict[tuple[str, str, str], list[Score]] = defaultdict(list)
        self._vocabulary: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        for item in items:
            tokens = words(fields.prose(item.text))
            group = item.recipe, item.model, item.level
            self._vocabulary[group].update(tokens)
            self._scores[group] += _scores(item, tokens)
        self.computed = [score for scores in self._scores.values() for score in scores]
        kinds = sorted({(recipe, level) for recipe, _, level in self._scores})
        self.measures = [
            measure for kind in kinds for measure in _measures(kind if len(kinds) > 1 else None)
        ]

    def groups(self, bootstrap: Bootstrap) -> list[GroupFigures]:
        """The figures of each recipe, model and level."""
        found = []
        for (recipe, model, level), scores in sorted(self._scores.items()):
            figures = figures_of(_measures(), scores, bootstrap)
            counts = [score.score or 0.0 for score in scores if score.dimension == "words"]
            figures.insert(1, median_figure("words median", counts, bootstrap, unit="words"))
            # Without an interval: a resample holds fewer different words by construction.
            vocabulary = len(self._vocabulary[recipe, model, level])
            figures.append(
                Figure(name="vocabulary", value=vocabulary, n=len(counts), unit="words",
                       method="formula")
            )  # fmt: skip
            found.append(GroupFigures(recipe=recipe, model=model, level=level, figures=figures))
        return found


def all_figures(groups: Sequence[GroupFigures]) -> list[Figure]:
    """The figures of all groups in one list, named after their group if there are several."""
    if len(groups) == 1:
        return groups[0].figures
    return [
        each.model_copy(update={"name": f"{name}: {each.name}"})
        for group in groups
        for name in (" ".join(filter(None, (group.recipe, group.model, group.level))),)
        for each in group.figures
    ]


def _measures(kind: tuple[str, str] | None = None) -> list[Measure]:
    """Of the scores of one recipe and level, or of all, so that two recipes can be compared."""

    def takes(score: Score) -> bool:
        return kind in (None, (score.recipe, score.item.split()[0]))

    prefix = f"{' '.join(kind)}: " if kind else ""
    return [
        Measure(name=f"{prefix}{name}", dimensions=(name,), factor=factor, unit=unit, takes=takes)
        for name, factor, unit in _MEASURES
    ]


def _scores(item: Item, tokens: list[str]) -> list[Score]:
    abnormal = abnormality(item)
    values: list[tuple[str, float, str | None]] = [
        ("words", float(len(tokens)), None),
        ("repetition", repetition(tokens), None),
        ("distinct words", len(set(tokens)) / len(tokens) if tokens else 0.0, None),
        ("abnormal", float(abnormal is not None), abnormal),
    ]
    if item.status is not None:
        values.append(("status ok", float(item.status == "ok"), item.status))
    if item.is_structured:
        wrong = schema_problem(item.structure, strict=True)
        values.append(("valid structure", float(wrong is None), wrong))
    part = f"{item.level} {item.index}"
    return [item.score(name, value, part=part, reason=reason) for name, value, reason in values]


def repetition(tokens: list[str]) -> float:
    """Share of the runs of four words that stood in the text before."""
    grams = [tuple(tokens[at : at + _GRAM]) for at in range(len(tokens) - _GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def abnormality(item: Item) -> str | None:
    """Why a caption is abnormal: empty, repeating without end, or ending abruptly; else None.

    Of the published rules for abnormal captions, that on sensitive content needs a model
    and is left out.
    """
    if item.is_structured:
        text, cut = fields.prose(item.structure), fields.parse(item.structure) is None
    else:
        text, cut = item.text, not is_finished(item.text)
    answer = Answer(
        text=text,
        finish_reason="length" if cut or item.status == "truncated" else "stop",
        prompt_tokens=0,
        output_tokens=0,
    )
    if non_empty(answer):
        return "empty"
    if no_endless_repetition(answer):
        return "repeats"
    return "ends abruptly" if complete(answer) else None
