"""Rules that an answer must keep. Each returns None, or the reason it does not.

Reasons are data: they end up in ``status_reason`` of the captions table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from schemas.recipe import Answer
from schemas.structured import StructuredCaption

Validator = Callable[[Answer], str | None]

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+", re.MULTILINE)

TRUNCATED = "cut off at the token limit"


def non_empty(answer: Answer) -> str | None:
    """There is at least one word."""
    return None if _WORD.search(answer.text) else "empty"


def complete(answer: Answer) -> str | None:
    """The model ended the answer by itself."""
    return TRUNCATED if answer.finish_reason == "length" else None


def one_paragraph(answer: Answer) -> str | None:
    """Running text: no blank line, no bullet-point list."""
    if re.search(r"\n\s*\n", answer.text):
        return "more than one paragraph"
    if len(_LIST_ITEM.findall(answer.text)) > 1:
        return "a list instead of a paragraph"
    return None


def no_endless_repetition(answer: Answer) -> str | None:
    """No phrase of up to 24 words stands four times in a row, and no sentence five times.

    A single word may stand up to seven times in a row ("ha ha ha").
    """
    words = [word.lower() for word in _WORD.findall(answer.text)]
    for length in range(1, min(24, len(words) // 4) + 1):
        run = 0
        needed = length * (7 if length == 1 else 3)
        for position in range(length, len(words)):
            run = run + 1 if words[position] == words[position - length] else 0
            if run >= needed:
                phrase = " ".join(words[position - length + 1 : position + 1])
                return f"repeats {phrase!r}"
    sentences = [part.strip().lower() for part in re.split(r"[.!?]+\s+", answer.text)]
    for sentence in set(sentences):
        if len(sentence) > 10 and sentences.count(sentence) >= 5:
            return f"repeats {sentence!r}"
    return None


def ends_with_a_sentence(answer: Answer) -> str | None:
    """The last sentence is finished."""
    text = answer.text.rstrip("\"'”’)]* \n")
    return None if not text or text[-1] in ".!?…。！？" else "ends abruptly"


def without_words(words: Sequence[str]) -> Validator:
    """None of these words or phrases, in any case."""
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b", re.IGNORECASE)

    def check(answer: Answer) -> str | None:
        # The reason ends up in tables: it says that, not what.
        return (
            "holds a word of the sensitive list" if words and pattern.search(answer.text) else None
        )

    return check


def structured(answer: Answer) -> str | None:
    """A JSON document of :class:`schemas.structured.StructuredCaption`."""
    try:
        StructuredCaption.model_validate_json(answer.text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"not as the schema says: {where + ': ' if where else ''}{first['msg']}"
    return None


def no_repeated_subjects(answer: Answer) -> str | None:
    """No subject is listed twice with the same look, action and place."""
    try:
        subjects = StructuredCaption.model_validate_json(answer.text).subjects
    except ValidationError:
        return None
    told = [(each.TYPES.sub_type, each.appearance, each.action, each.position) for each in subjects]
    twice = next((each for each in told if told.count(each) > 1), None)
    return None if twice is None else f"lists the subject {twice[0]!r} twice"


def min_words(floor: int) -> Validator:
    """At least ``floor`` words."""

    def check(answer: Answer) -> str | None:
        count = len(_WORD.findall(answer.text))
        return None if count >= floor else f"{count} words, fewer than {floor}"

    return check


def first_reason(answer: Answer, rules: Sequence[Validator]) -> str | None:
    """The first broken rule's reason, or None for a valid answer."""
    for rule in rules:
        reason = rule(answer)
        if reason is not None:
            return reason
    return None
