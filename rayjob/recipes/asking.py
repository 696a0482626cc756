"""Ask, check, ask again: what every recipe does with a request."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rayjob.recipes.rules import REPEATS, TRUNCATED, Rule, first_reason, no_thinking
from schemas.config import GenerationConfig
from schemas.errors import AbnormalCaptionError, CaptionError, IncompleteError
from schemas.recipe import Answer, Asker, Request
from schemas.tables import CaptionRow, CaptionStatus

_RETRY_TEMPERATURE = 0.2
"""Lowest temperature of a second attempt: a greedy answer would come out the same."""

_RETRY_PENALTY = 1.1
"""Lowest penalty on repetition after an answer that repeated itself."""


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

    Attempts after the first shift the seed, and after an answer that repeated itself make
    repetition less likely. If none is valid, the first one is kept, with
    its reason.

    Raises:
        AbnormalCaptionError: no answer is valid, and ``drop_abnormal`` is set.
        CaptionError: from the engine.
    """
    answers: list[Answer] = []
    reasons: list[str | None] = []
    while len(answers) < max_attempts:
        attempt = dataclasses.replace(request, generation=_shifted(request.generation, reasons))
        answers.append(await engine.ask(attempt))
        reasons.append(first_reason(answers[-1], [no_thinking, *rules]))
        if reasons[-1] is None:
            break
    chosen = len(answers) - 1 if reasons[-1] is None else 0
    answer = dataclasses.replace(
        answers[chosen],
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        output_tokens=sum(answer.output_tokens for answer in answers),
        reasoning_tokens=sum(answer.reasoning_tokens for answer in answers),
    )
    return _outcome(answer, reasons[chosen], len(answers), drop_abnormal)


def _outcome(answer: Answer, reason: str | None, attempts: int, drop_abnormal: bool) -> Outcome:
    if reason is not None and drop_abnormal:
        raise AbnormalCaptionError(f"{reason}: {answer.text[:200]!r}")
    return Outcome(
        answer=answer,
        status="ok" if reason is None else "truncated" if reason == TRUNCATED else "invalid",
        reason=reason,
        attempts=attempts,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        reasoning_tokens=answer.reasoning_tokens,
    )


def joined(outcomes: Sequence[Outcome], *, rules: Sequence[Rule], drop_abnormal: bool) -> Outcome:
    """Texts that follow each other as one, in paragraphs.

    Args:
        rules: what the whole must keep, beside what each part was held to.

    Raises:
        AbnormalCaptionError: it is not valid, and ``drop_abnormal`` is set.
    """
    cut = any(each.answer.finish_reason == "length" for each in outcomes)
    answer = Answer(
        text="\n\n".join(each.answer.text for each in outcomes),
        reasoning="\n\n".join(filter(None, (each.answer.reasoning for each in outcomes))),
        finish_reason="length" if cut else "stop",
        prompt_tokens=sum(each.prompt_tokens for each in outcomes),
        output_tokens=sum(each.output_tokens for each in outcomes),
        reasoning_tokens=sum(each.reasoning_tokens for each in outcomes),
    )
    broken = next((each.reason for each in outcomes if each.reason is not None), None)
    reason = broken or first_reason(answer, rules)
    return _outcome(answer, reason, max(each.attempts for each in outcomes), drop_abnormal)


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


def _shifted(generation: GenerationConfig, reasons: Sequence[str | None]) -> GenerationConfig:
    """How the next answer is sampled, after answers with these reasons."""
    if not reasons:
        return generation
    changes: dict[str, Any] = {
        "seed": None if generation.seed is None else generation.seed + len(reasons),
        "temperature": max(generation.temperature or 0.0, _RETRY_TEMPERATURE),
    }
    if (reasons[-1] or "").startswith(REPEATS):
        given = generation.repetition_penalty or 1.0
        changes["repetition_penalty"] = max(given, _RETRY_PENALTY)
    return generation.model_copy(update=changes)
