"""The fields of structured captions: reading, checking and matching them.

The fields and options are those of SkyCaptioner-V1; the rows of its accuracy table are
:data:`FIELDS`, in its order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from rayjob.recipes.rules import texts_in

FIELDS = (
    "shot_type", "shot_angle", "shot_position", "camera_motion", "expression", "TYPES.type",
    "TYPES.sub_type", "appearance", "action", "position", "is_main_subject", "environment",
    "lighting",
)  # fmt: skip

SUBJECT_FIELDS = (
    "TYPES.type", "TYPES.sub_type", "appearance", "action", "expression", "position",
    "is_main_subject",
)  # fmt: skip
GLOBAL_FIELDS = tuple(name for name in FIELDS if name not in SUBJECT_FIELDS)

CLOSED_FIELDS = ("shot_type", "shot_angle", "shot_position", "is_main_subject")
"""Compared by equality; all other fields hold free text."""

_ARTICLES = frozenset({"a", "an", "the"})
_WORD = re.compile(r"\w+")


def parse(text: str | None) -> dict[str, Any] | None:
    """The object that a JSON text holds, None for any other text.

    Text from models: nested too deeply, or with half a surrogate pair, it is not JSON either.
    """
    try:
        value = from_json(text or "")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def field_of(structure: Mapping[str, Any], name: str) -> Any:
    """The value at a dotted name, of a key or in nested mappings; None without one."""
    value: Any = structure
    for part in [name] if name in structure else name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def subjects_of(structure: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The subjects of a structure; entries that are not objects are left out."""
    found = structure.get("subjects")
    if not isinstance(found, list):
        return []
    return [each for each in found if isinstance(each, Mapping)]


def prose(text: str) -> str:
    """The texts that a structured caption holds, joined; other text as it is."""
    structure = parse(text)
    return text if structure is None else " ".join(filter(None, texts_in(structure)))


def normalised(value: Any) -> str:
    """Lower-case words without punctuation, underscores and articles."""
    words = _WORD.findall(str(value).lower().replace("_", " "))
    return " ".join(word for word in words if word not in _ARTICLES)


def match_subjects(
    labels: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any] | None]:
    """For each labelled subject the answer's subject that tells of it, None without one.

    The most similar pair first, then the most similar of the rest, so that the order of the
    subjects does not matter. Similarity counts equal types, the share of common words in the texts,
    and the main-subject mark. As many pairs are made as the shorter list holds, so a
    subject described wrongly throughout is matched and wrong, not missing.
    """
    pairs = sorted(
        (-_similarity(label, answer), row, column)
        for row, label in enumerate(labels)
        for column, answer in enumerate(answers)
    )
    matched: dict[int, int] = {}
    for _, row, column in pairs:
        if row not in matched and column not in matched.values():
            matched[row] = column
    return [answers[matched[row]] if row in matched else None for row in range(len(labels))]


_TEXT_WEIGHTS = {
    "TYPES.type": 1.0, "TYPES.sub_type": 3.0, "appearance": 2.0, "action": 1.0, "position": 1.0,
}  # fmt: skip
"""What tells subjects apart: what they are first, then what they look like."""


def _similarity(label: Mapping[str, Any], answer: Mapping[str, Any]) -> float:
    total = 0.0
    for name, weight in _TEXT_WEIGHTS.items():
        left = set(normalised(field_of(label, name) or "").split())
        right = set(normalised(field_of(answer, name) or "").split())
        if left and right:
            total += weight * len(left & right) / len(left | right)
    main = field_of(label, "is_main_subject")
    return total + 0.5 * (isinstance(main, bool) and main == field_of(answer, "is_main_subject"))
