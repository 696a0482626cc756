"""Structured answers for the eye: a JSON document as groups of short labelled values."""

from __future__ import annotations

from typing import Any

from rayjob.evaluation.fields import parse

_MAX_GROUPS = 12
_MAX_CHIPS = 24
_MAX_CHARS = 300


Chips = list[tuple[str, str]]
"""(field, value); of a flag that is true the field is "", and its name the value."""


def chip_groups(document: str | None) -> list[tuple[str, Chips]]:
    """Groups of a JSON document: one entitled "" for its own fields, one for each object in a list.

    Empty values and false flags are left out. No groups for what is not a JSON object.
    """
    groups = []
    own = {}
    for name, value in (parse(document) or {}).items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            one = _words(name).removesuffix("s")
            for number, item in enumerate(value, start=1):
                groups.append((one if len(value) == 1 else f"{one} {number}", _chips(item)))
        else:
            own[name] = value
    groups.append(("", _chips(own)))
    return [(title, chips) for title, chips in groups if chips][:_MAX_GROUPS]


def _chips(data: dict[str, Any]) -> Chips:
    chips: Chips = []
    for name, value in data.items():
        if isinstance(value, dict):
            chips += _chips(value)
        elif value is True:
            chips.append(("", _words(name).removeprefix("is ")))
        elif value not in (None, "", False, []):
            items = value if isinstance(value, list) else [value]
            said = ", ".join(_words(str(item)) for item in items if item not in (None, ""))
            cut = said if len(said) <= _MAX_CHARS else f"{said[:_MAX_CHARS]} …"
            chips += [(_words(name), cut)] if said else []
    return chips[:_MAX_CHIPS]


def _words(name: str) -> str:
    """An identifier as words; a sentence stays as it is."""
    return name if " " in name else name.replace("_", " ").strip()
