"""Recipes ``t2v`` and ``i2v``: a structured caption becomes a text to train generators on.

Follows the fusion stage of SkyCaptioner-V1: Qwen2.5-32B-Instruct, temperature 0.1, 512
tokens, 4,096 tokens of context. A video without subjects is a failure with its reason, where
the published code writes "-".
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from rayjob.inputs.earlier_captions import Material
from rayjob.recipes import fusing
from rayjob.recipes import rules as validators
from rayjob.recipes.asking import ask_for_video
from rayjob.recipes.rows import caption_row
from rayjob.recipes.settings import NoOptions, RecipeDefaults, RecipeSettings
from rayjob.recipes.structured_text import ReadCaption, read_structured
from schemas.config import GenerationConfig
from schemas.recipe import Asker, Video
from schemas.tables import CaptionRow


class DenseOptions(BaseModel):
    """How the fields of text-to-video captions are thinned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drop_appearance: float = Field(default=0.1, ge=0, le=1, description="probability")
    drop_position: float = Field(default=0.1, ge=0, le=1, description="probability")
    drop_lighting: float = Field(default=0.1, ge=0, le=1, description="probability")
    drop_seed: int = Field(default=42, description="draws another thinning for all videos")


def _defaults(prompt: str, options: type[BaseModel]) -> RecipeDefaults:
    return RecipeDefaults(
        model="Qwen/Qwen2.5-32B-Instruct",
        prompt=prompt,
        system="",
        plan=None,
        generation=GenerationConfig(temperature=0.1, max_tokens=512, seed=42),
        max_model_len=4096,
        max_num_seqs=256,
        options=options,
        source_recipe="structured",
    )


class _Fusion:
    """One text per video out of its structured caption."""

    defaults: ClassVar[RecipeDefaults]
    plan = None

    def __init__(self, settings: RecipeSettings) -> None:
        self._settings = settings
        self._rules: list[validators.Validator] = [
            validators.non_empty,
            validators.complete,
            validators.one_paragraph,
            validators.no_endless_repetition,
        ]
        if settings.min_words:
            self._rules.append(validators.min_words(settings.min_words))

    @abstractmethod
    def fields(self, caption: ReadCaption, video_id: str) -> dict[str, Any]:
        """What the model is shown.

        Raises:
            UnusableMaterialError: there is nothing to show.
        """

    async def caption(self, video: Video, engine: Asker) -> Sequence[CaptionRow]:
        """One row for the whole video; see :class:`schemas.recipe.Recipe`.

        Raises:
            UnusableMaterialError: the structured caption cannot be read or names no subject.
        """
        settings, material = self._settings, Material.read(video)
        source = material.video_caption()
        read = read_structured(source.structured or source.caption)
        fields = self.fields(read, video.video_id)
        outcome = await ask_for_video(
            engine,
            settings,
            rules=self._rules,
            prompt=settings.prompt.replace("{input}", json.dumps(fields, ensure_ascii=False)),
        )
        return [
            caption_row(
                video,
                outcome,
                settings,
                info=material.info,
                num_frames=None,
                caption=fusing.with_camera(outcome.answer.text, read.camera_motion),
                details={"fields": fields, "repaired": True}
                if read.repaired
                else {"fields": fields},
            )
        ]


class TextToVideo(_Fusion):
    """A dense text: all that is known, in a fixed order, randomly thinned."""

    name = "t2v"
    defaults = _defaults("t2v.txt", DenseOptions)

    def fields(self, caption: ReadCaption, video_id: str) -> dict[str, Any]:
        """See :func:`rayjob.recipes.fusing.dense_fields`."""
        options: DenseOptions = self._settings.options
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
    defaults = _defaults("i2v.txt", NoOptions)

    def fields(self, caption: ReadCaption, video_id: str) -> dict[str, Any]:
        """See :func:`rayjob.recipes.fusing.concise_fields`."""
        return fusing.concise_fields(caption)
