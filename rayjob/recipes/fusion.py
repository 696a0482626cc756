"""Recipes ``t2v`` and ``i2v``: a structured caption becomes a text to train generators on.

Follows the fusion stage of SkyCaptioner-V1: Qwen2.5-32B-Instruct, temperature 0.1, 512
tokens, 4,096 tokens of context. A video without subjects is a failure with its reason, where
the published code writes "-".
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rayjob.recipes import fusing
from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.material import Material
from rayjob.recipes.rules import complete, no_endless_repetition, non_empty, one_paragraph
from rayjob.recipes.structured_text import ReadCaption, read_apart
from schemas.config import GenerationConfig
from schemas.recipe import Engine, Video
from schemas.tables import CaptionRow


class DenseOptions(BaseModel):
    """How the fields of text-to-video captions are thinned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drop_appearance: float = Field(default=0.1, ge=0, le=1, description="probability")
    drop_position: float = Field(default=0.1, ge=0, le=1, description="probability")
    drop_lighting: float = Field(default=0.1, ge=0, le=1, description="probability")
    drop_seed: int = Field(default=42, description="draws another thinning for all videos")


class _Fusion(BaseRecipe):
    """One text per video out of its structured caption."""

    model = "Qwen/Qwen2.5-32B-Instruct"
    plan = None
    generation = GenerationConfig(temperature=0.1, max_tokens=512, seed=42)
    rules = (non_empty, complete, one_paragraph, no_endless_repetition)
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
                caption=fusing.with_camera(outcome.answer.text, read.camera_motion),
                details={"fields": fields} | ({"repaired": True} if read.repaired else {}),
            )
        ]


class TextToVideo(_Fusion):
    """A dense text: all that is known, in a fixed order, randomly thinned."""

    name = "t2v"
    prompt = "prompts/t2v.txt"
    options = DenseOptions()

    def fields(self, caption: ReadCaption, video_id: str) -> dict[str, Any]:
        """See :func:`rayjob.recipes.fusing.dense_fields`."""
        options = self.options
        return fusing.dense_fields(
            caption,
            video_id=video_id,
            drop={
                "appearance": options.drop_appearance,
                "position": options.drop_position,
                "lighting": options.drop_lighting,
            },
            seed=options.drop_seed,
        )


class ImageToVideo(_Fusion):
    """A concise text: who does what, for one who has the first picture."""

    name = "i2v"
    prompt = "prompts/i2v.txt"

    def fields(self, caption: ReadCaption, video_id: str) -> dict[str, Any]:
        """See :func:`rayjob.recipes.fusing.concise_fields`."""
        return fusing.concise_fields(caption)
