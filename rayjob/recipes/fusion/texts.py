"""Recipes ``t2v`` and ``i2v``: a structured caption becomes a text to train generators on.

Follows the fusion stage of SkyCaptioner-V1: Qwen2.5-32B-Instruct, temperature 0.1, 512 tokens up
to the first blank line, 4,096 tokens of context; the whole instruction is the system message, with
the document in it, and there is no user's turn. Its code cleans each subject (an expression is kept
for humans and animals only, the name is the sub type, marks that do not describe it go), selects
fields by task, and thins them at random, subject by subject. Here the draw depends on the video's
id and the subject alone, so a rerun makes the same; and where there is nothing to tell the video is
a failure with its reason, where the published code writes "-".
"""

from __future__ import annotations

import json
import random
from abc import abstractmethod
from collections.abc import Container, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.fusion.structured_text import ReadCaption, ReadSubject, read_apart
from rayjob.recipes.material import Material
from rayjob.recipes.rules import (
    complete,
    no_endless_repetition,
    non_empty,
    one_paragraph,
    prose,
    texts_in,
)
from rayjob.recipes.wording import is_finished
from schemas.config import GenerationConfig
from schemas.errors import UnusableMaterialError
from schemas.recipe import Engine, Video
from schemas.settings import Settings
from schemas.tables import CaptionRow

_EXPRESSIVE = ("human", "animal")
_Probability = Annotated[float, Field(ge=0, le=1)]


class FusionOptions(Settings):
    """What fusing recipes can be told."""

    indent: Annotated[int | None, Field(ge=0)] = 4
    """Spaces of indent in the document that the model is shown; null for a document on one line."""


class DenseOptions(FusionOptions):
    """How the fields of text-to-video captions are thinned."""

    drop_appearance: _Probability = 0.1
    """Probability that the appearance of a subject is left out."""
    drop_position: _Probability = 0.1
    """Probability that the position of a subject is left out."""
    drop_lighting: _Probability = 0.1
    """Probability that the lighting is left out."""
    drop_seed: int = 42
    """Draws another thinning for all videos."""


class _Fusion(BaseRecipe):
    """One text per video out of its structured caption."""

    model = "Qwen/Qwen2.5-32B-Instruct"
    plan = None
    generation = GenerationConfig(temperature=0.1, max_tokens=512, stop=("\n\n",), seed=42)
    rules = (non_empty, prose, no_endless_repetition, complete, one_paragraph)
    options = FusionOptions()
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
            UnusableMaterialError: the structured caption cannot be read, or has nothing to tell.
        """
        material = Material.read(video)
        source = material.video_caption()
        read = await read_apart(source.structured or source.caption)
        fields = self.fields(read, video.video_id)
        shown = json.dumps(fields, ensure_ascii=False, indent=self.options.indent)
        outcome = await self.ask(engine, places={"input": shown}, quotable=list(texts_in(fields)))
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
        """Everything but the camera's motion, thinned; UnusableMaterialError where that is nothing.

        A landscape without subjects is told by its shot, place and light.
        """
        whole = any((caption.subjects, any(caption.shot.values()), caption.environment))
        if not (whole or caption.lighting):
            raise UnusableMaterialError(
                "the structured caption tells of no subject, place, light or shot"
            )
        options = self.options
        by_subject = {"appearance": options.drop_appearance, "position": options.drop_position}
        document: dict[str, Any] = {
            "num_subjects": len(caption.subjects),
            "subjects": [
                _without(
                    self._dropped(by_subject, f"{video_id}:{number}"),
                    {
                        "appearance": subject.appearance,
                        "action": subject.action,
                        "expression": _expression(subject),
                        "position": subject.position,
                    }
                    | _name(subject),
                )
                for number, subject in enumerate(caption.subjects)
            ],
            **caption.shot,
            "environment": caption.environment,
            "lighting": caption.lighting,
        }
        # What is all that is known stays.
        return _without(
            self._dropped({"lighting": options.drop_lighting}, video_id) if whole else (), document
        )

    def _dropped(self, rates: Mapping[str, float], of: str) -> set[str]:
        """Which fields are left out; one's rate does not change another's draw."""
        rng = random.Random(f"{self.options.drop_seed}:{of}")
        return {name for name, rate in rates.items() if rng.random() < rate}


class ImageToVideo(_Fusion):
    """A concise text: who does what with which expression, for one who has the first picture."""

    name = "i2v"
    prompt = "prompts/i2v.txt"

    def fields(self, caption: ReadCaption, video_id: str) -> dict[str, Any]:
        """The subjects that act or have an expression; UnusableMaterialError without any."""
        subjects = [
            {"action": each.action, "expression": _expression(each)} | _name(each)
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


def _name(subject: ReadSubject) -> dict[str, str]:
    return {"name": subject.sub_type} if subject.sub_type else {}


def _without(names: Container[str], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def _expression(subject: ReadSubject) -> str:
    if subject.type.lower() not in _EXPRESSIVE or subject.sub_type.lower() == "accessory":
        return ""
    return subject.expression
