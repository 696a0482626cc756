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

from rayjob.recipes.wording import any_phrase, has_words, is_finished, sentences, words
from schemas.recipe import Answer
from schemas.structured import StructuredCaption

Rule = Callable[[Answer], str | None]

_LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+", re.MULTILINE)

_THINKING = re.compile(
    r"</?(?:think|thinking|seed:think)>|\[/?THINK\]|<\|channel\|>|assistantfinal", re.IGNORECASE
)
"""Marks around what models think. The last one is what remains of gpt-oss's channels where control
tokens are left out of a text."""

TRUNCATED = "cut off at the token limit"

REPEATS = "repeats "
"""How the reason of an answer that repeats itself begins."""

_KEY = re.compile(r"""["'][\w .-]+["']\s*:""")
_MARKUP = re.compile(r"^\s*(?:```|</?[A-Za-z])|^#{1,6}\s|^\s*\|.*\|\s*$", re.MULTILINE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")

_ECHO_WORDS = 12
_ECHO_RUNS = 3
"""So many runs of so many words that stand in the question as well: fourteen words on end, and not
a field's name that happens to stand before its text."""

_PHRASE_WORDS = 24
"""Longest phrase whose repetition is looked for."""

_SONG_WORDS = 24
"""From here on repetitions are not a song or a shout that the text goes on after."""


def non_empty(answer: Answer) -> str | None:
    """There is at least one word."""
    return None if has_words(answer.text) else "empty"


def complete(answer: Answer) -> str | None:
    """The model ended the answer by itself."""
    return TRUNCATED if answer.finish_reason == "length" else None


def no_thinking(answer: Answer) -> str | None:
    """There is no mark of thinking."""
    if not _THINKING.search(answer.text):
        return None
    return "holds what the model thought; engine.reasoning_parser keeps it apart"


def one_paragraph(answer: Answer) -> str | None:
    """Running text: no blank line, no bullet-point list."""
    if re.search(r"\n\s*\n", answer.text):
        return "more than one paragraph"
    if len(_LIST_ITEM.findall(answer.text)) > 1:
        return "a list instead of a paragraph"
    return None


def prose(answer: Answer) -> str | None:
    """Running text: neither JSON, whole or cut off, nor markup of a page or a document.

    JSON, tags or a table that a text mentions on its way do not count. A recipe with this rule is
    also held to :func:`no_echo`.
    """
    text = answer.text.strip()
    braces = text[text.find("{") :] if "{" in text else ""
    if "}" in braces:
        braces = braces[: braces.rfind("}") + 1]
    if 2 * len(braces) > len(text) and _KEY.search(braces):
        return "JSON where prose was asked for"
    marked = _MARKUP.match(text) or len(_MARKUP.findall(text)) > 1 or len(_TAG.findall(text)) > 2
    return "markup where prose was asked for" if marked else None


def no_echo(question: str, quotable: Sequence[str] = ()) -> Rule:
    """Fourteen words of the question do not stand in the answer on end.

    Args:
        question: all that was said to the model.
        quotable: texts in it, such as the fields of a document, each of which may be told word for
            word.
    """

    def runs(text: str) -> Iterator[tuple[str, ...]]:
        told = words(text)
        return zip(*(told[first:] for first in range(_ECHO_WORDS)), strict=False)

    def check(answer: Answer) -> str | None:
        asked = set(runs(question))
        common = [run for run in runs(answer.text) if run in asked]
        if len(common) < _ECHO_RUNS:
            return None
        quoted = set().union(*map(runs, quotable))
        common = [run for run in common if run not in quoted]
        return f"echoes its input: {' '.join(common[0])!r}" if len(common) >= _ECHO_RUNS else None

    return check


def no_endless_repetition(answer: Answer) -> str | None:
    """No phrase of up to 24 words stands four times in a row, and no sentence five times.

    A single word may stand up to seven times in a row ("ha ha ha"). What the text goes on after
    may be a song or a shout ("la la la"): there, repetitions count from 24 words on.
    """
    told = words(answer.text)
    for length in range(1, min(_PHRASE_WORDS, len(told) // 4) + 1):
        if (end := _repeated_until(told, length)) is not None:
            return f"{REPEATS}{' '.join(told[end - length : end])!r}"
    parts = sentences(answer.text)
    for sentence in set(parts):
        if len(sentence) > 10 and parts.count(sentence) >= 5:
            return f"{REPEATS}{sentence!r}"
    return None


def _repeated_until(told: Sequence[str], length: int) -> int | None:
    """Where a phrase of so many words ends that stands too often in a row; None without any."""
    needed = length * (7 if length == 1 else 3)
    # So many words in a row that repeat what stands before them hold one of these places.
    position = length + needed - 1
    while position < len(told):
        if told[position] != told[position - length]:
            position += needed
            continue
        first = last = position
        while first > length and told[first - 1] == told[first - 1 - length]:
            first -= 1
        while last + 1 < len(told) and told[last + 1] == told[last + 1 - length]:
            last += 1
        run, enough = last - first + 1, max(needed, _SONG_WORDS - length)
        if run >= enough:
            return first + enough
        if run >= needed and last + 1 == len(told):
            return len(told)
        position += needed * (1 + (last - position) // needed)
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
    return "ends abruptly" if has_words(answer.text) and not is_finished(answer.text) else None


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
