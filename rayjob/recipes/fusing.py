"""From a structured caption to what a fusion model is shown: the rules of SkyCaptioner-V1.

The published code cleans each subject (an expression is kept for humans and animals only, the
name is the sub type, marks that do not describe it go), selects fields by task, and thins
them at random. Here the draw depends on the video's id alone, so a rerun makes the same.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from rayjob.recipes.structured_text import ReadCaption, ReadSubject
from rayjob.recipes.wording import is_finished
from schemas.errors import UnusableMaterialError

_EXPRESSIVE = ("human", "animal")
_DROPPABLE = ("appearance", "position", "lighting")


def dense_fields(
    caption: ReadCaption, *, video_id: str, drop: Mapping[str, float], seed: int
) -> dict[str, Any]:
    """Fields for text-to-video: everything but the camera's motion, thinned.

    Args:
        drop: probability with which ``appearance``, ``position`` (of all subjects) and
            ``lighting`` are left out.
        seed: draws another thinning for all videos.
    """
    rng = random.Random(f"{seed}:{video_id}")
    # Drawn for every field, so that one field's rate does not change another field's draw.
    dropped = {name for name in _DROPPABLE if rng.random() < drop.get(name, 0.0)}
    subjects = []
    for subject in caption.subjects:
        fields = {
            "name": _name(subject),
            "appearance": subject.appearance,
            "action": subject.action,
            "expression": _expression(subject),
            "position": subject.position,
        }
        subjects.append({name: text for name, text in fields.items() if name not in dropped})
    document: dict[str, Any] = {"num_subjects": len(subjects), "subjects": subjects}
    document |= caption.shot
    document["environment"] = caption.environment
    if "lighting" not in dropped:
        document["lighting"] = caption.lighting
    return document


def concise_fields(caption: ReadCaption) -> dict[str, Any]:
    """Fields for image-to-video: who does what with which expression; the picture shows the rest.

    Raises:
        UnusableMaterialError: no subject acts or has an expression.
    """
    subjects = [
        {
            "name": _name(subject),
            "action": subject.action,
            "expression": _expression(subject),
        }
        for subject in caption.subjects
        if subject.action or _expression(subject)
    ]
    if not subjects:
        raise UnusableMaterialError("no subject has an action or an expression to tell of")
    return {"num_subjects": len(subjects), "subjects": subjects}


def with_camera(text: str, camera_motion: str) -> str:
    """The text with the camera's motion as its last sentence, letters as they were written."""
    motion = camera_motion.strip()
    if not motion:
        return text
    sentence = _ended(motion[0].upper() + motion[1:])
    return f"{_ended(text)} {sentence}" if text else sentence


def _ended(text: str) -> str:
    return text if text[-1] in "\"'”’)" or is_finished(text) else f"{text}."


def _name(subject: ReadSubject) -> str:
    return subject.sub_type or subject.type


def _expression(subject: ReadSubject) -> str:
    if subject.type.lower() not in _EXPRESSIVE or subject.sub_type.lower() == "accessory":
        return ""
    return subject.expression
