"""The suites: what is computed, what is asked, and which figures come of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rayjob.evaluation.inputs import Item
from rayjob.evaluation.measures import Measure
from rayjob.evaluation.rubrics import Question
from rayjob.evaluation.scores import Score


def each_alone(names: Iterable[str], *, factor: float, unit: str = "") -> list[Measure]:
    """A measure for each of some dimensions."""
    return [Measure(name=name, dimensions=(name,), factor=factor, unit=unit) for name in names]


class Suite:
    """One way to evaluate a set of captions; a suite fills its lists when it is made.

    Attributes:
        items: the captions, by video.
        computed: the scores that need no judge.
        questions: what the judge is asked.
        measures: the figures, in the order of the published table; one without scores is left out.
        notes: what a reader of the figures must know, such as captions that are missing.
    """

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self.items = {item.video_id: item for item in items}
        self.computed: list[Score] = []
        self.questions: list[Question] = []
        self.measures: list[Measure] = []
        self.notes: list[str] = []

    def follow_ups(self, scores: Sequence[Score]) -> tuple[list[Question], list[Score]]:
        """What the first answers lead to: further questions, and scores without one."""
        return [], []

    def note_uncaptioned(self, what: str, video_ids: Iterable[str]) -> None:
        """Note which of the labels, questions and so on belong to videos without a caption."""
        ids = set(video_ids)
        missing = len(ids - set(self.items))
        if missing:
            self.notes.append(
                f"{missing} of {len(ids)} {what} have no caption here and count nowhere"
            )
