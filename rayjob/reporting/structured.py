"""Structured answers for the eye: a JSON document as groups of short labelled values."""

from __future__ import annotations

from typing import Any, NamedTuple

from rayjob.evaluation.fields import parse

_MAX_GROUPS = 12
_MAX_CHIPS = 24
_MAX_CHARS = 300


class Chip(NamedTuple):
    """A value, and the field it belongs to; a true flag has its name as its value."""

    label: str
    value: str


class ChipGroup(NamedTuple):
    """The fields of one object of the answer; the title is "" for the answer as a whole."""

    title: str
    chips: tuple[Chip, ...]


def chip_groups(document: str | None) -> tuple[ChipGroup, ...]:
    """Groups of a JSON document: one for its own fields, one for each object in a list.

    Empty values and false flags are left out. No groups for what is not a JSON object.
    """
    data = parse(document) or {}
    groups = []
    own = {}
    for name, value in data.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            one = _words(name).removesuffix("s")
            for number, item in enumerate(value, start=1):
                title = one if len(value) == 1 else f"{one} {number}"
                groups.append(ChipGroup(title, _chips(item)))
        else:
            own[name] = value
    groups.append(ChipGroup("", _chips(own)))
    return tuple(group for group in groups if group.chips)[:_MAX_GROUPS]


def _chips(data: dict[str, Any]) -> tuple[Chip, ...]:
    chips: list[Chip] = []
    for name, value in data.items():
        if isinstance(value, dict):
            chips += _chips(value)
        elif value is True:
            chips.append(Chip("", _words(name).removeprefix("is ")))
        elif isinstance(value, list):
            items = [_words(str(item)) for item in value if item not in (None, "")]
            if items:
                chips.append(Chip(_words(name), _clipped(", ".join(items))))
        elif value not in (None, "", False):
            chips.append(Chip(_words(name), _clipped(_words(str(value)))))
    return tuple(chips[:_MAX_CHIPS])


def _words(name: str) -> str:
    """An identifier as words; a sentence stays as it is."""
    return name if " " in name else name.replace("_", " ").strip()


def _clipped(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]} …"
