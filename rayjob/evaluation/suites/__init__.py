"""The suites: what is computed, what is asked, and which figures come of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rayjob.evaluation.measures import Measure
from rayjob.evaluation.rubrics import Question
from rayjob.evaluation.scores import Score


class Suite(Protocol):
    """One way to evaluate a set of captions.

    Attributes:
        name: the ``suite`` partition of the scores.
        notes: what a reader of the figures must know, such as captions that are missing.
    """

    name: str
    notes: list[str]

    def computed(self) -> list[Score]:
        """The scores that need no judge."""
        ...

    def questions(self) -> list[Question]:
        """What the judge is asked."""
        ...

    def follow_ups(self, scores: Sequence[Score]) -> tuple[list[Question], list[Score]]:
        """What the first answers lead to: further questions, and scores without one."""
        ...

    def measures(self, scores: Sequence[Score]) -> list[Measure]:
        """The figures, in the order of the published table."""
        ...
