"""Suite ``long``: length, quality and relevance of long captions, as in LongCaption-Bench.

Length follows LongWriter's piecewise score, quality its six dimensions (mean times 20),
relevance Video-ChatGPT's question after correctness on a scale from 1 to 5.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from rayjob.evaluation.inputs import Item
from rayjob.evaluation.labels import Reference
from rayjob.evaluation.measures import Measure
from rayjob.evaluation.rubrics import LIKERT, Question, Rubric
from rayjob.evaluation.scores import Score
from rayjob.recipes.wording import words

QUALITY_DIMENSIONS = (
    "relevance", "accuracy", "coherence", "clarity", "breadth_and_depth", "readability",
)  # fmt: skip
QUALITY = Rubric(name="quality", scales=dict.fromkeys(QUALITY_DIMENSIONS, LIKERT))
RELEVANCE = Rubric(name="relevance", scales={"relevance": LIKERT})

_QUALITY = tuple(f"quality {name}" for name in QUALITY_DIMENSIONS)


def length_score(required: int, written: int) -> float:
    """S_L of ``written`` words where ``required`` were: 0 to 100.

    Longer: 100 * max(0, 1 - (written / required - 1) / 3), so 0 from four times the length.
    Shorter: 100 * max(0, 1 - (required / written - 1) / 2), so 0 up to a third of it.

    >>> length_score(1000, 2000), length_score(1000, 500)
    (66.66666666666667, 50.0)
    """
    if written == 0 or required == 0:
        return 100.0 if written == required else 0.0
    if written > required:
        return 100 * max(0.0, 1 - (written / required - 1) / 3)
    return 100 * max(0.0, 1 - (required / written - 1) / 2)


class LongSuite:
    """Length and relevance need reference captions; quality and relevance need a judge.

    Args:
        edges: of the duration buckets, in seconds, rising; a bucket holds its lower edge.
    """

    name = "long"

    def __init__(
        self,
        items: Sequence[Item],
        references: Mapping[str, Reference],
        *,
        edges: Sequence[float],
        judged: bool,
    ) -> None:
        self._references = references
        self._edges = edges
        self._judged = judged
        self._items = [_timed(item, references.get(item.video_id)) for item in items]
        self.notes = []
        there = {item.video_id for item in items}
        if set(references) - there:
            self.notes.append(
                f"{len(set(references) - there)} of {len(references)} reference captions have no "
                "caption here and count nowhere"
            )
        if not references:
            self.notes.append("no --labels: neither length nor relevance")
        if not judged:
            self.notes.append("no judge: neither quality nor relevance")

    def computed(self) -> list[Score]:
        """The length scores, by the words of caption and reference."""
        scores = []
        for item in self._items:
            reference = self._references.get(item.video_id)
            if reference is None:
                continue
            required, written = len(words(reference.text)), len(words(item.text))
            scores.append(
                Score(
                    video_id=item.video_id,
                    recipe=item.recipe,
                    model=item.model,
                    caption_hash=item.caption_hash,
                    duration_sec=item.duration_sec,
                    dimension="length",
                    score=length_score(required, written),
                    reason=f"{written} words, the reference has {required}",
                    method="formula",
                )
            )
        return scores

    def questions(self) -> list[Question]:
        """Quality of every caption, relevance of those with a reference."""
        if not self._judged:
            return []
        asked = []
        for item in self._items:
            asked.append(
                Question(
                    about=item,
                    rubric=QUALITY,
                    prompt=QUALITY.render({"caption": item.text}),
                    dimensions=dict(zip(QUALITY_DIMENSIONS, _QUALITY, strict=True)),
                )
            )
            reference = self._references.get(item.video_id)
            if reference is not None:
                parts = {"caption": item.text, "reference": reference.text}
                asked.append(
                    Question(
                        about=item,
                        rubric=RELEVANCE,
                        prompt=RELEVANCE.render(parts),
                        dimensions={"relevance": "relevance"},
                    )
                )
        return asked

    def follow_ups(self, scores: Sequence[Score]) -> tuple[list[Question], list[Score]]:
        """None."""
        return [], []

    def measures(self, scores: Sequence[Score]) -> list[Measure]:
        """Length, quality and relevance over all and by bucket, then quality's dimensions."""
        there = {score.dimension for score in scores}
        kinds: list[tuple[str, tuple[str, ...], float]] = [
            ("length", ("length",), 1.0),
            ("quality", _QUALITY, 20.0),
            ("relevance", ("relevance",), 1.0),
        ]
        kinds = [kind for kind in kinds if there.intersection(kind[1])]
        measures = [
            Measure(name=name, dimensions=names, factor=factor) for name, names, factor in kinds
        ]
        for bucket, inside in self._buckets(scores):
            measures += [
                Measure(name=f"{name} {bucket}", dimensions=names, factor=factor, takes=inside)
                for name, names, factor in kinds
            ]
        return measures + [
            Measure(name=name, dimensions=(name,), factor=20.0)
            for name in _QUALITY
            if name in there
        ]

    def _buckets(self, scores: Sequence[Score]) -> list[tuple[str, Callable[[Score], bool]]]:
        """The buckets that hold a video, by their names."""
        edges = [-math.inf, *self._edges, math.inf]
        found = []
        for low, high in itertools.pairwise(edges):
            inside = _between(low, high)
            if any(inside(score) for score in scores):
                name = f"[{low:g}s, {high:g}s)"
                name = f"under {high:g}s" if low == -math.inf else name
                found.append((f"from {low:g}s" if high == math.inf else name, inside))
        return found


def _between(low: float, high: float) -> Callable[[Score], bool]:
    return lambda score: score.duration_sec is not None and low <= score.duration_sec < high


def _timed(item: Item, reference: Reference | None) -> Item:
    """The item with the video's duration, from the reference where the caption has none."""
    if item.duration_sec is not None or reference is None:
        return item
    values = {
        field.name: getattr(item, field.name) for field in dataclasses.fields(item) if field.init
    }
    return Item(**{**values, "duration_sec": reference.duration_sec})
