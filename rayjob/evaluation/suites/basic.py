"""Suite ``basic``: what needs neither labels nor a judge, per recipe and model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from rayjob.evaluation import fields, texts
from rayjob.evaluation.inputs import Item
from rayjob.evaluation.measures import Bootstrap, Figure, Measure, figure, median_figure
from rayjob.evaluation.rubrics import Question
from rayjob.evaluation.scores import Score
from rayjob.recipes.wording import words

_MEASURES = (
    ("words", 1.0, "words"),
    ("repetition", 100.0, "%"),
    ("distinct words", 100.0, "%"),
    ("abnormal", 100.0, "%"),
    ("status ok", 100.0, "%"),
    ("valid structure", 100.0, "%"),
)


class Group(NamedTuple):
    """Captions that belong together."""

    recipe: str
    model: str
    level: str


class BasicSuite:
    """Word counts, repetition, vocabulary, abnormal captions, validity of structures."""

    name = "basic"

    def __init__(self, items: Sequence[Item]) -> None:
        self.notes: list[str] = []
        self._counts: dict[Group, list[int]] = defaultdict(list)
        self._vocabulary: dict[Group, set[str]] = defaultdict(set)
        self._scores: list[Score] = []
        for item in items:
            tokens = words(fields.prose(item.text))
            group = Group(item.recipe, item.model, item.level)
            self._counts[group].append(len(tokens))
            self._vocabulary[group].update(tokens)
            self._scores += _scores(item, tokens)

    def computed(self) -> list[Score]:
        """One score per caption and property; validity of structures only."""
        return self._scores

    def questions(self) -> list[Question]:
        """None."""
        return []

    def follow_ups(self, scores: Sequence[Score]) -> tuple[list[Question], list[Score]]:
        """None."""
        return [], []

    def measures(self, scores: Sequence[Score]) -> list[Measure]:
        """Each property, by recipe and level where there are several."""
        kinds = sorted({(score.recipe, score.item.split()[0]) for score in scores})
        measures = []
        for recipe, level in kinds:
            prefix = f"{recipe} {level}: " if len(kinds) > 1 else ""
            measures += self._measures(scores, recipe=recipe, level=level, prefix=prefix)
        return measures

    def _measures(
        self, scores: Sequence[Score], *, recipe: str, level: str, model: str | None = None,
        prefix: str = "",
    ) -> list[Measure]:  # fmt: skip
        def takes(score: Score) -> bool:
            return (
                score.recipe == recipe
                and score.item.split()[0] == level
                and model in (None, score.model)
            )

        there = {score.dimension for score in scores if takes(score)}
        return [
            Measure(
                name=f"{prefix}{name}", dimensions=(name,), factor=factor, unit=unit, takes=takes
            )
            for name, factor, unit in _MEASURES
            if name in there
        ]

    def figures(self, groups: Sequence[tuple[Group, list[Figure]]]) -> list[Figure]:
        """The figures of all groups in one list, named after their group if there are several."""
        if len(groups) == 1:
            return groups[0][1]
        return [
            each.model_copy(update={"name": f"{' '.join(filter(None, group))}: {each.name}"})
            for group, figures in groups
            for each in figures
        ]

    def groups(self, bootstrap: Bootstrap) -> list[tuple[Group, list[Figure]]]:
        """The figures of each recipe, model and level."""
        found = []
        for group, counts in sorted(self._counts.items()):
            measures = self._measures(
                self._scores, recipe=group.recipe, level=group.level, model=group.model
            )
            figures = [figure(measure, self._scores, bootstrap) for measure in measures]
            figures.insert(1, median_figure("words median", counts, bootstrap, unit="words"))
            # Without an interval: a resample holds fewer different words by construction.
            vocabulary = len(self._vocabulary[group])
            figures.append(
                Figure(name="vocabulary", value=vocabulary, n=len(counts), unit="words",
                       method="formula")
            )  # fmt: skip
            found.append((group, figures))
        return found


def _scores(item: Item, tokens: list[str]) -> list[Score]:
    abnormal = texts.abnormality(item)
    values: list[tuple[str, float, str | None]] = [
        ("words", float(len(tokens)), None),
        ("repetition", texts.repetition(tokens), None),
        ("distinct words", len(set(tokens)) / len(tokens) if tokens else 0.0, None),
        ("abnormal", float(abnormal is not None), abnormal),
    ]
    if item.status is not None:
        values.append(("status ok", float(item.status == "ok"), item.status))
    if texts.is_structured(item):
        wrong = fields.problem(texts.structure_of(item))
        values.append(("valid structure", float(wrong is None), wrong))
    return [
        Score(
            video_id=item.video_id,
            recipe=item.recipe,
            model=item.model,
            caption_hash=item.caption_hash,
            duration_sec=item.duration_sec,
            item=f"{item.level} {item.index}",
            dimension=name,
            score=value,
            reason=reason,
            method="formula",
        )
        for name, value, reason in values
    ]
