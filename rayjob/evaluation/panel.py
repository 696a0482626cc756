"""Asking many questions of a judge: what is known is not asked, what fails is unscored."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rayjob.evaluation.config import JudgeConfig
from rayjob.evaluation.rubrics import Question, Reading
from rayjob.evaluation.scores import Score, Stored
from schemas.errors import CaptionError, RayjobError
from schemas.recipe import Asker
from schemas.tables import utc_now

UNKNOWN = "unknown"
"""The answer of a judge that does not find one."""

NO_JUDGE = "no stored answer, and no judge to ask"


@dataclass(kw_only=True)
class Panel:
    """One judge, its stored answers, and the limit on questions in flight.

    Attributes:
        judge: who is asked; None to use stored answers only.
        name: the judge as scores record it.
        answers: question_hash -> stored answer.
        keep: called with the scores of each question that was asked.
        step: called with the numbers of questions that are new and that are settled.
        asked: different questions that the judge was asked.
    """

    judge: Asker | None
    name: str
    config: JudgeConfig
    answers: dict[str, Stored]
    keep: Callable[[Sequence[Score]], None]
    step: Callable[[int, int], None]
    asked: int = 0

    async def ask(self, questions: Sequence[Question]) -> list[Score]:
        """The scores of all questions. Equal questions are asked once.

        Raises:
            UsageError: the judge cannot be asked at all.
        """
        self.step(len(questions), 0)
        groups: dict[str, list[Question]] = {}
        for question in questions:
            groups.setdefault(question.hash, []).append(question)
        scores: list[Score] = []
        places = asyncio.Semaphore(self.config.concurrency)

        async def settle(digest: str, group: list[Question]) -> None:
            stored = self.answers.get(digest)
            if stored is not None and stored.complete:
                found = self._scored(group, stored)
            else:
                async with places:
                    found = self._scored(group, await self._answer(group[0], stored))
                self.keep(found)
            scores.extend(found)
            self.step(0, len(group))

        try:
            async with asyncio.TaskGroup() as tasks:
                for digest, group in groups.items():
                    tasks.create_task(settle(digest, group))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return scores

    async def _answer(self, question: Question, earlier: Stored | None) -> Stored | str:
        """The judge's answer, or the best there was before, or why there is no answer."""
        if self.judge is None:
            return earlier or NO_JUDGE
        self.asked += 1
        request = question.request(
            temperature=self.config.temperature, max_tokens=self.config.max_tokens
        )
        try:
            answer = await self.judge.ask(request)
        except CaptionError as error:
            return earlier or str(error)
        except RayjobError:
            raise
        except Exception as error:
            # Whatever else one answer may set off costs that answer, never the evaluation.
            return earlier or f"unexpected {type(error).__name__}: {error}"[:300]
        readings = question.rubric.read(answer.text).values()
        if earlier is not None and all(reading.value is None for reading in readings):
            return earlier
        complete = all(reading.value is not None for reading in readings)
        stored = Stored(raw_answer=answer.text, created_at=utc_now(), complete=complete)
        self.answers[question.hash] = stored
        return stored

    def _scored(self, group: Sequence[Question], answer: Stored | str) -> list[Score]:
        """The scores of equal questions; ``answer`` is a reason where there is no answer."""
        if isinstance(answer, str):
            readings = dict.fromkeys(group[0].rubric.scales, Reading(None, answer))
            raw, when = None, utc_now()
        else:
            readings = group[0].rubric.read(answer.raw_answer)
            raw, when = answer.raw_answer, answer.created_at
        return [
            dataclasses.replace(
                question.about.score(
                    dimension,
                    _as_score(readings[name].value),
                    part=question.item,
                    reason=readings[name].reason,
                    method="judge",
                ),
                judge_model=self.name,
                prompt_hash=question.rubric.prompt_hash,
                question_hash=question.hash,
                question=question.prompt,
                raw_answer=raw,
                created_at=when,
            )
            for question in group
            for name, dimension in question.dimensions.items()
        ]


def _as_score(value: float | str | None) -> float | None:
    """A text is scored by whether there is one; the text itself stands in raw_answer."""
    if isinstance(value, str):
        return float(value.strip().lower() not in ("", UNKNOWN))
    return value
