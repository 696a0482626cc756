"""Asking many questions of a judge: what is known is not asked, what fails is unscored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from rayjob.evaluation.config import JudgeConfig
from rayjob.evaluation.rubrics import Question
from rayjob.evaluation.scores import Score, Stored
from schemas.errors import CaptionError
from schemas.recipe import Asker
from schemas.tables import utc_now

UNKNOWN = "unknown"
"""The answer of a judge that does not find one."""

NO_JUDGE = "no stored answer, and no judge to ask"


class Panel:
    """One judge, its stored answers, and the limit on questions in flight.

    Args:
        judge: who is asked; None to use stored answers only.
        name: the judge as scores record it.
        answers: question_hash -> stored answer.
        keep: called with the scores of each question that was asked.
        step: called once per question that is settled.
    """

    def __init__(
        self,
        judge: Asker | None,
        *,
        name: str,
        config: JudgeConfig,
        answers: Mapping[str, Stored],
        keep: Callable[[Sequence[Score]], None],
        step: Callable[[int], None],
    ) -> None:
        self._judge = judge
        self._name = name
        self._config = config
        self._answers = dict(answers)
        self._keep = keep
        self._step = step

    def missing(self, questions: Sequence[Question]) -> int:
        """How many of the questions would be asked."""
        return len({question.hash for question in questions if not self._known(question.hash)})

    async def ask(self, questions: Sequence[Question]) -> list[Score]:
        """The scores of all questions. Equal questions are asked once.

        Raises:
            UsageError: the judge cannot be asked at all.
        """
        groups: dict[str, list[Question]] = {}
        for question in questions:
            groups.setdefault(question.hash, []).append(question)
        scores: list[Score] = []
        unknown = []
        for digest, group in groups.items():
            if self._known(digest):
                scores += self._scored(group, self._answers[digest])
                self._step(len(group))
            else:
                unknown.append(group)
        places = asyncio.Semaphore(self._config.concurrency)

        async def settle(group: list[Question]) -> None:
            async with places:
                found = await self._asked(group)
            self._keep(found)
            scores.extend(found)
            self._step(len(group))

        try:
            async with asyncio.TaskGroup() as tasks:
                for group in unknown:
                    tasks.create_task(settle(group))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return scores

    def _known(self, digest: str) -> bool:
        stored = self._answers.get(digest)
        return stored is not None and stored.complete

    async def _asked(self, group: list[Question]) -> list[Score]:
        question, digest = group[0], group[0].hash
        earlier = self._answers.get(digest)
        if self._judge is None:
            return self._scored(group, earlier) if earlier else self._unscored(group, NO_JUDGE)
        request = question.request(
            temperature=self._config.temperature, max_tokens=self._config.max_tokens
        )
        try:
            answer = await self._judge.ask(request)
        except CaptionError as error:
            # A part of an earlier answer is better than nothing.
            return self._scored(group, earlier) if earlier else self._unscored(group, str(error))
        readings = question.rubric.read(answer.text).values()
        complete = all(reading.value is not None for reading in readings)
        stored = Stored(raw_answer=answer.text, created_at=utc_now(), complete=complete)
        if earlier is not None and not any(reading.value is not None for reading in readings):
            stored = earlier
        self._answers[digest] = stored
        return self._scored(group, stored)

    def _scored(self, group: Sequence[Question], stored: Stored) -> list[Score]:
        return [
            _score(
                question,
                self._name,
                dimension,
                value=reading.value,
                reason=reading.reason,
                raw_answer=stored.raw_answer,
                created_at=stored.created_at,
            )
            for question in group
            for readings in (question.rubric.read(stored.raw_answer),)
            for name, dimension in question.dimensions.items()
            for reading in (readings[name],)
        ]

    def _unscored(self, group: Sequence[Question], reason: str) -> list[Score]:
        return [
            _score(
                question, self._name, dimension,
                value=None, reason=reason, raw_answer=None, created_at=utc_now(),
            )
            for question in group
            for dimension in question.dimensions.values()
        ]  # fmt: skip


def _score(
    question: Question,
    judge: str,
    dimension: str,
    *,
    value: float | str | None,
    reason: str | None,
    raw_answer: str | None,
    created_at: datetime,
) -> Score:
    if isinstance(value, str):
        # A text is scored by whether there is one; the text itself stands in raw_answer.
        value = float(value.strip().lower() not in ("", UNKNOWN))
    about = question.about
    return Score(
        video_id=about.video_id,
        recipe=about.recipe,
        model=about.model,
        caption_hash=about.caption_hash,
        duration_sec=about.duration_sec,
        item=question.item,
        dimension=dimension,
        score=value,
        reason=reason,
        judge_model=judge,
        prompt_hash=question.rubric.prompt_hash,
        question_hash=question.hash,
        question=question.prompt,
        raw_answer=raw_answer,
        created_at=created_at,
    )
