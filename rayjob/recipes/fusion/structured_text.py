"""Structured captions as they were written: read strictly, else repaired, else refused.

The published script stores its model's raw text, so its CSV files hold answers that were cut
off, followed by other text, or quoted wrongly. Nothing in them is invented here: a repair
closes what is open, and a field that is missing stays empty.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType
from typing import Any

import json_repair

from schemas.errors import UnusableMaterialError

SUBJECT_TEXTS = ("appearance", "action", "expression", "position")
SHOT_FIELDS = ("shot_type", "shot_angle", "shot_position")

LONGEST = 1 << 20
"""Characters of a structured caption: the parser of JSON does not let go of the interpreter."""

LONGEST_REPAIRED = 1 << 16
"""Characters of one that is not valid JSON."""

_MOST_CALLS = 1_000_000
"""Of functions, to repair one. Repairing takes the square of the length where each quote is in
doubt; a caption that is cut off takes some ten thousand."""

_NOTHING = {"nan", "null", "infinity", "-infinity"}
"""Texts that stand for a missing value."""

_reader = ThreadPoolExecutor(1, thread_name_prefix="structured")


@dataclass(frozen=True, kw_only=True)
class ReadSubject:
    """A subject of a structured caption; what the text does not say is empty."""

    type: str
    sub_type: str
    appearance: str
    action: str
    expression: str
    position: str


@dataclass(frozen=True, kw_only=True)
class ReadCaption:
    """A structured caption with every field as text.

    Attributes:
        shot: ``shot_type``, ``shot_angle`` and ``shot_position``; empty where not given.
        repaired: whether the text was not a valid JSON document.
    """

    subjects: tuple[ReadSubject, ...]
    shot: Mapping[str, str]
    camera_motion: str
    environment: str
    lighting: str
    repaired: bool


async def read_apart(text: str) -> ReadCaption:
    """:func:`read_structured` in a thread of its own, so that the event loop goes on."""
    return await asyncio.get_running_loop().run_in_executor(_reader, read_structured, text)


def read_structured(text: str) -> ReadCaption:
    """Read a structured caption.

    Raises:
        UnusableMaterialError: it holds no object, or one that tells nothing; or it is longer,
            nested more deeply or harder to repair than any caption is.
    """
    if len(text) > LONGEST:
        raise UnusableMaterialError(
            f"the structured caption has {len(text)} characters, and {LONGEST} are read"
        )
    try:
        return _read(text)
    except RecursionError:
        raise UnusableMaterialError("the structured caption is not JSON: nested deeply") from None


def _read(text: str) -> ReadCaption:
    document, repaired = _document(text)
    subjects = document.get("subjects")
    if isinstance(subjects, Mapping):
        subjects = [subjects]
    listed = subjects if isinstance(subjects, list) else ()
    read = [_subject(each) for each in listed if isinstance(each, Mapping)]
    # Models that repeat themselves list a subject again and again.
    told = tuple(dict.fromkeys(each for each in read if any(vars(each).values())))
    caption = ReadCaption(
        subjects=told,
        shot={name: _text(document.get(name)) for name in SHOT_FIELDS},
        camera_motion=_text(document.get("camera_motion")),
        environment=_text(document.get("environment")),
        lighting=_text(document.get("lighting")),
        repaired=repaired,
    )
    said = (told, *caption.shot.values(), caption.camera_motion, caption.environment)
    if not any((*said, caption.lighting)):
        raise UnusableMaterialError("the structured caption tells nothing")
    return caption


def _document(text: str) -> tuple[Mapping[str, Any], bool]:
    if not text.strip():
        raise UnusableMaterialError("the structured caption is empty")
    try:
        document, repaired = json.loads(text), False
    except (ValueError, RecursionError):
        document, repaired = _repaired(text), True
    # Text around the object is read as further elements of a list.
    found = document if isinstance(document, list) else [document]
    objects = [each for each in found if isinstance(each, Mapping)]
    if not objects:
        raise UnusableMaterialError(
            f"the structured caption is not a JSON object: it begins with {text.strip()[:40]!r}"
        )
    return next((each for each in objects if each.get("subjects")), objects[0]), repaired


def _repaired(text: str) -> Any:
    if len(text) > LONGEST_REPAIRED:
        raise UnusableMaterialError(
            f"the structured caption is not JSON, and with {len(text)} characters too long to be "
            "repaired"
        )
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"
        if calls > _MOST_CALLS:
            raise UnusableMaterialError("the structured caption is too broken to be repaired")

    # Calls are counted and not seconds, so that a busy machine reads the same as an idle one.
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        return json_repair.loads(text)
    except ValueError as error:
        raise UnusableMaterialError(f"the structured caption is not JSON: {error}") from error
    finally:
        sys.setprofile(before)


def _subject(fields: Mapping[str, Any]) -> ReadSubject:
    types = fields.get("TYPES")
    if not isinstance(types, Mapping):
        # Not a list: that is what the repair makes of a key that was cut off.
        types = {"type": types} if isinstance(types, str) else {}
    return ReadSubject(
        type=_text(types.get("type")),
        sub_type=_text(types.get("sub_type")),
        **{name: _text(fields.get(name)) for name in SUBJECT_TEXTS},
    )


def _text(value: Any) -> str:
    """A field as text: models sometimes write a list or a number where a sentence belongs."""
    if isinstance(value, str):
        # JSON can escape half of a surrogate pair, which neither tables nor prompts can hold.
        text = value.encode(errors="replace").decode().strip()
        return "" if text.lower() in _NOTHING else text
    if isinstance(value, list):
        return ", ".join(filter(None, map(_text, value)))
    if value is None or isinstance(value, Mapping | bool):
        return ""
    return "" if isinstance(value, float) and not math.isfinite(value) else str(value)
