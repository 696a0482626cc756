"""Recipes ``t2v`` and ``i2v``: a structured caption becomes a text to train generators on.

Follows the fusion stage of SkyCaptioner-V1: Qwen2.5-32B-Instruct, temperature 0.1, 512
tokens, 4,096 tokens of context. Its code cleans each subject (an expression is kept for humans
and animals only, the name is the sub type, marks that do not describe it go), selects fields by
task, and thins them at random. Here the draw depends on the video's id alone, so a rerun makes
the same; and a video without subjects is a failure with its reason, where the published code
writes "-".
"""

from __future__ import annotations

import json
import random
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.material import Material
from rayjob.recipes.rules import (
    complete,
    no_endless_repetition,
    no_json,
    non_empty,
    one_paragraph,
)
from rayjob.recipes.structured_text import ReadCaption, ReadSubject, read_apart
from rayjob.recipes.wording import is_finished
from schemas.config import GenerationConfig
from schemas.errors import UnusableMaterialError
from schemas.recipe import Engine, Video
from schemas.settings import Settings
from schemas.tables import CaptionRow

_EXPRESSIVE = ("human", "animal")
_Probability = Annotated[float, Field(ge=0, le=1)]


class DenseOptions(Settings):
    """How the fields of text-to-video captions are thinned."""

    drop_appearance: _Probability = 0.1
    """Probability that the appearance of all subjects is left out."""
    drop_position: _Probability = 0.1
    """Probability that the position of all subjects is left out."""
    drop_lighting: _Probability = 0.1
    """Probability that the lighting is left out."""
    drop_seed: int = 42
    """Draws another thinning for all videos."""


class _Fusion(BaseRecipe):
    """One text per video out of its structured caption."""

    model = "Qwen/Qwen2.5-32B-Instruct"
    plan = None
    generation = GenerationConfig(temperature=0.1, max_tokens=512, seed=42)
    rules = (non_empty, complete, one_paragraph, no_json, no_endless_repetition)
    max_model_len = 4096
    max_num_seqs = 256
    source_recipe = "structured"

    @abstractmethod
    def fields(self, caption: ReadCaption, video_id: str) -> dict[str, Any]:
        """What the model is shown.

        Raises:
            UnusableMaterialError: there is nothing to show.
        """

    async def caption(self, video: Video, engine: Engine) -> Sequence[CaptionRow]:
        """One row for the whole video; see :class:`schemas.recipe.Recipe`.

        Raises:
            UnusableMaterialError: the structured caption cannot be read or names no subject.
        """
        material = Material.read(video)
        source = material.video_caption()
        read = await read_apart(source.structured or source.caption)
        fields = self.fields(read, video.video_id)
        shown = json.dumps(fields, ensure_ascii=False)
        outcome = await self.ask(engine, prompt=self.prompt.replace("{input}", shown))
        return [
            self.row(
                video,
                outcome,
                info=material.info,
                caption=with_camera(outcome.answer.text, read.camera_motion),
                details={"fields": fields} | ({"repaired": True} if read.repaired else {}),
            )
        ]


class TextToVideo(_Fusion):
    """A dense text: all that is known, in a fixed order, randomly thinned."""

    name = "t2v"
    prompt = "prompts/t2v.txt"
    options = DenseOptions()

    def fields(self, caption: ReadCaption, video_id: str) -> dict[str, Any]:
        """Everything but the camera's motion, thinned."""
        rng = random.Random(f"{self.options.drop_seed}:{video_id}")
        rates = {
            "appearance": self.options.drop_appearance,
            "position": self.options.drop_position,
            "lighting": self.options.drop_lighting,
        }
        # Drawn for every field, so that one field's rate does not change another field's draw.
        dropped = {name for name, rate in rates.items() if rng.random() < rate}
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


class ImageToVideo(_Fusion):
    """A concise text: who does what with which expression, for one who has the first picture."""

    name = "i2v"
    prompt = "prompts/i2v.txt"

    def fields(self, caption: ReadCaption, video_id: str) -> dict[str, Any]:
        """The subjects that act or have an expression; UnusableMaterialError without any."""
        subjects = [
            {"name": _name(each), "action": each.action, "expression": _expression(each)}
            for each in caption.subjects
            if each.action or _expression(each)
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
