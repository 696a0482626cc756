"""Rules that an answer must keep. Each returns None, or the reason it does not.

Reasons are data: they end up in ``status_reason`` of the captions table.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from rayjob.recipes.wording import any_phrase, is_finished, sentences, words
from schemas.recipe import Answer
from schemas.structured import StructuredCaption

Rule = Callable[[Answer], str | None]

_LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+", re.MULTILINE)

_JSON_KEY = re.compile(r'[{,]\s*"\w+"\s*:')

TRUNCATED = "cut off at the token limit"

_PHRASE_WORDS = 24
"""Longest phrase whose repetition is looked for."""

_SONG_WORDS = 24
"""From here on repetitions are not a song or a shout that the text goes on after."""


def non_empty(answer: Answer) -> str | None:
    """There is at least one word."""
    return None if words(answer.text) else "empty"


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


def no_json(answer: Answer) -> str | None:
    """Running text, where a model that was shown JSON may write it once more."""
    return "JSON instead of a text" if _JSON_KEY.search(answer.text) else None


def no_endless_repetition(answer: Answer) -> str | None:
    """No phrase of up to 24 words stands four times in a row, and no sentence five times.

    A single word may stand up to seven times in a row ("ha ha ha"). What the text goes on after
    may be a song or a shout ("la la la"): there, repetitions count from 24 words on.
    """
    told = words(answer.text)
    for length in range(1, min(_PHRASE_WORDS, len(told) // 4) + 1):
        run = 0
        needed = length * (7 if length == 1 else 3)
        for position in range(length, len(told)):
            run = run + 1 if told[position] == told[position - length] else 0
            endless = position == len(told) - 1 or run + length >= _SONG_WORDS
            if run >= needed and endless:
                phrase = " ".join(told[position - length + 1 : position + 1])
                return f"repeats {phrase!r}"
    parts = sentences(answer.text)
    for sentence in set(parts):
        if len(sentence) > 10 and parts.count(sentence) >= 5:
            return f"repeats {sentence!r}"
    return None


def no_endless_repetition_in_fields(answer: Answer) -> str | None:
    """:func:`no_endless_repetition` in every text of a structured caption."""
    if structured(answer) is not None:
        return None
    texts = (dataclasses.replace(answer, text=text) for text in texts_in(json.loads(answer.text)))
    return next(filter(None, map(no_endless_repetition, texts)), None)


def texts_in(value: Any) -> Iterator[str]:
    """The texts that a JSON document holds, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts_in(each)


def ends_with_a_sentence(answer: Answer) -> str | None:
    """The last sentence is finished."""
    return None if not words(answer.text) or is_finished(answer.text) else "ends abruptly"


def without_words(phrases: Sequence[str]) -> Rule:
    """None of these words or phrases, in any case."""
    listed = any_phrase(phrases) if phrases else None

    def check(answer: Answer) -> str | None:
        # The reason ends up in tables: it says that, not what.
        found = listed is not None and listed.search(answer.text)
        return "holds a word of the sensitive list" if found else None

    return check


def structured(answer: Answer) -> str | None:
    """A JSON document of :class:`schemas.structured.StructuredCaption`."""
    wrong = schema_problem(answer.text)
    return wrong and f"not as the schema says: {wrong}"


def schema_problem(text: str, *, strict: bool = False) -> str | None:
    """What is first wrong with a structured caption, None for a valid one.

    Args:
        strict: take no text for a truth value.
    """
    try:
        StructuredCaption.model_validate_json(text, strict=strict)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
    return None


def no_repeated_subjects(answer: Answer) -> str | None:
    """No subject is listed twice with the same look, action and place."""
    if structured(answer) is not None:
        return None
    subjects = StructuredCaption.model_validate_json(answer.text).subjects
    told = [(each.TYPES.sub_type, each.appearance, each.action, each.position) for each in subjects]
    twice = next((each for each in told if told.count(each) > 1), None)
    return None if twice is None else f"lists the subject {twice[0]!r} twice"


def min_words(floor: int) -> Rule:
    """At least ``floor`` words, as :func:`words` counts."""

    def check(answer: Answer) -> str | None:
        count = len(words(answer.text))
        return None if count >= floor else f"{count} words, fewer than {floor}"

    return check


def first_reason(answer: Answer, rules: Sequence[Rule]) -> str | None:
    """The first broken rule's reason, or None for a valid answer."""
    return next(filter(None, (rule(answer) for rule in rules)), None)
