"""Suite ``long``: length, quality and relevance of long captions, as in LongCaption-Bench.

Length follows LongWriter's piecewise score, each video's against the length of its own reference;
quality its six dimensions (mean times 20), which the judge gives after an analysis; relevance
Video-ChatGPT's question after correctness, on the paper's scale from 1 to 5 or on its source's from
0 to 5.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from rayjob.evaluation.inputs import Item
from rayjob.evaluation.measures import Measure
from rayjob.evaluation.rubrics import LIKERT, Question, Rubric, Scale
from rayjob.evaluation.scores import Score
from rayjob.evaluation.suites import Suite, each_alone
from rayjob.recipes.rewards import length_score
from rayjob.recipes.wording import words

QUALITY_DIMENSIONS = (
    "relevance", "accuracy", "coherence", "clarity", "breadth_and_depth", "readability",
)  # fmt: skip
QUALITY = Rubric(
    name="quality",
    # In this order: the analysis comes before what follows from it.
    scales={"analysis": Scale(type="string"), **dict.fromkeys(QUALITY_DIMENSIONS, LIKERT)},
)
RELEVANCE = Rubric(name="relevance", scales={"relevance": LIKERT})
RELEVANCE_FROM_0 = Rubric(
    name="relevance_from_0",
    scales={"relevance": Scale(type="integer", options=(0, *LIKERT.options))},
)

_QUALITY = tuple(f"quality {name}" for name in QUALITY_DIMENSIONS)


class LongSuite(Suite):
    """Length and relevance need reference captions; quality and relevance need a judge.

    Args:
        edges: of the duration buckets, in seconds, rising; a bucket holds its lower edge, and the
            last one its upper, too.
        relevance_from_0: on the scale of its source.
    """

    def __init__(
        self,
        items: Sequence[Item],
        references: Mapping[str, Item],
        *,
        edges: Sequence[float],
        judged: bool,
        relevance_from_0: bool = False,
    ) -> None:
        super().__init__(_timed(item, references.get(item.video_id)) for item in items)
        kinds = [("length", ("length",), 1.0), ("quality", _QUALITY, 20.0),
                 ("relevance", ("relevance",), 1.0)]  # fmt: skip
        self.measures = [
            Measure(name=f"{name}{bucket}", dimensions=names, factor=factor, takes=inside)
            for bucket, inside in [("", lambda _: True), *_buckets(edges)]
            for name, names, factor in kinds
        ] + each_alone(_QUALITY, factor=20.0)
        self.note_uncaptioned("reference captions", references)
        if not references:
            self.notes.append("no --labels: neither length nor relevance")
        if not judged:
            self.notes.append("no judge: neither quality nor relevance")
        for item in self.items.values():
            reference = references.get(item.video_id)
            if reference is not None:
                self.computed.append(_length(item, reference))
            if judged:
                rubric = RELEVANCE_FROM_0 if relevance_from_0 else RELEVANCE
                self.questions += _questions(item, reference, rubric)


def _length(item: Item, reference: Item) -> Score:
    required, written = len(words(reference.text)), len(words(item.text))
    return item.score(
        "length",
        length_score(required, written),
        reason=f"{written} words, the reference has {required}",
    )


def _questions(item: Item, reference: Item | None, relevance: Rubric) -> Iterator[Question]:
    """Quality of a caption, and relevance where there is a reference."""
    parts = {"caption": item.text}
    yield QUALITY.question(item, parts, dict(zip(QUALITY_DIMENSIONS, _QUALITY, strict=True)))
    if reference is not None:
        parts["reference"] = reference.text
        yield relevance.question(item, parts, {"relevance": "relevance"})


def _buckets(edges: Sequence[float]) -> Iterator[tuple[str, Callable[[Score], bool]]]:
    """The buckets of durations: what their figures' names end in, and which scores they hold."""
    yield f" under {edges[0]:g}s", partial(_is_between, -math.inf, edges[0])
    for low, high in itertools.pairwise(edges[:-1]):
        yield f" [{low:g}s, {high:g}s)", partial(_is_between, low, high)
    low, high = edges[-2:]
    beyond = math.nextafter(high, math.inf)
    yield f" [{low:g}s, {high:g}s]", partial(_is_between, low, beyond)
    yield f" over {high:g}s", partial(_is_between, beyond, math.inf)


def _is_between(low: float, high: float, score: Score) -> bool:
    return score.duration_sec is not None and low <= score.duration_sec < high


def _timed(item: Item, reference: Item | None) -> Item:
    """The item with the video's duration, from the reference where the caption does not say."""
    if item.duration_sec is not None or reference is None:
        return item
    return dataclasses.replace(item, duration_sec=reference.duration_sec)
