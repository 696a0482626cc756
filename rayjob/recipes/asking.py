"""Ask, check, ask again: what every recipe does with a request."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from rayjob.recipes.rules import TRUNCATED, Rule, first_reason, no_thinking
from schemas.config import GenerationConfig
from schemas.errors import AbnormalCaptionError, CaptionError, IncompleteError
from schemas.recipe import Answer, Asker, Request
from schemas.tables import CaptionRow, CaptionStatus

_RETRY_TEMPERATURE = 0.2
"""Lowest temperature of a second attempt: a greedy answer would come out the same."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The best answer to a request.

    Attributes:
        prompt_tokens, output_tokens, reasoning_tokens: summed over all attempts.
    """

    answer: Answer
    status: CaptionStatus
    reason: str | None
    attempts: int
    prompt_tokens: int
    output_tokens: int
    reasoning_tokens: int

    def with_tokens_of(self, outcomes: Sequence[Outcome]) -> Outcome:
        """The same, with the tokens of several requests."""
        return dataclasses.replace(
            self,
            prompt_tokens=sum(each.prompt_tokens for each in outcomes),
            output_tokens=sum(each.output_tokens for each in outcomes),
            reasoning_tokens=sum(each.reasoning_tokens for each in outcomes),
        )


async def ask(
    engine: Asker,
    request: Request,
    *,
    rules: Sequence[Rule],
    max_attempts: int,
    drop_abnormal: bool = False,
) -> Outcome:
    """Ask until an answer keeps all rules, and is free of thinking, at most ``max_attempts`` times.

    Attempts after the first shift the seed. If none is valid, the first one is kept, with
    its reason.

    Raises:
        AbnormalCaptionError: no answer is valid, and ``drop_abnormal`` is set.
        CaptionError: from the engine.
    """
    answers: list[Answer] = []
    reasons: list[str | None] = []
    while len(answers) < max_attempts:
        attempt = dataclasses.replace(
            request, generation=_shifted(request.generation, len(answers))
        )
        answers.append(await engine.ask(attempt))
        reasons.append(first_reason(answers[-1], [no_thinking, *rules]))
        if reasons[-1] is None:
            break
    chosen = len(answers) - 1 if reasons[-1] is None else 0
    reason = reasons[chosen]
    if reason is not None and drop_abnormal:
        raise AbnormalCaptionError(f"{reason}: {answers[chosen].text[:200]!r}")
    return Outcome(
        answer=answers[chosen],
        status="ok" if reason is None else "truncated" if reason == TRUNCATED else "invalid",
        reason=reason,
        attempts=len(answers),
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        output_tokens=sum(answer.output_tokens for answer in answers),
        reasoning_tokens=sum(answer.reasoning_tokens for answer in answers),
    )


def all_or_incomplete(rows: Sequence[CaptionRow], ends: Sequence[object]) -> Sequence[CaptionRow]:
    """The rows that several requests of one video made, in order.

    Args:
        ends: what ``asyncio.gather`` returned of them, exceptions included: all come to their
            end, so that one failure does not waste what others can do.

    Raises:
        IncompleteError: a request failed; the rows are kept.
    """
    rows = sorted(rows, key=lambda row: (row.level, row.index))
    errors = [end for end in ends if isinstance(end, BaseException)]
    for error in errors:
        if not isinstance(error, CaptionError):
            raise error
    if errors:
        first = errors[0]
        assert isinstance(first, CaptionError)
        raise IncompleteError(
            "; ".join(str(error) for error in errors), rows=rows, cause=first.cause
        ) from first
    return rows


def _shifted(generation: GenerationConfig, attempt: int) -> GenerationConfig:
    if attempt == 0:
        return generation
    return generation.model_copy(
        update={
            "seed": None if generation.seed is None else generation.seed + attempt,
            "temperature": max(generation.temperature or 0.0, _RETRY_TEMPERATURE),
        }
    )
