"""Recipe ``structured``: a video in fields (SkyCaptioner-V1).

Follows Skywork/SkyCaptioner-V1: 16 frames at i/16 of the way to the last one, temperature
0.05, 2,048 tokens. Its script stores the model's text as it is; here the schema guides the
decoding and every answer is checked against it. Its frames are stretched to 360 x 420
pixels; here they keep their shape within as many pixels, unless
``recipe.options.published_size`` asks for the former.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from rayjob.recipes import rules as validators
from rayjob.recipes.asking import ask_for_video
from rayjob.recipes.rows import caption_row
from rayjob.recipes.settings import RecipeDefaults, RecipeSettings
from schemas.config import GenerationConfig
from schemas.media import SamplingPlan
from schemas.recipe import Asker, Video
from schemas.structured import StructuredCaption, json_schema
from schemas.tables import CaptionRow

PUBLISHED_SIZE = (360, 420)
"""Width and height in pixels."""


class StructuredOptions(BaseModel):
    """What only this recipe can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    published_size: bool = Field(
        default=False, description="stretch frames to 360 x 420 as the published script does"
    )
    guided: bool = Field(
        default=True, description="guide the decoding by the schema; without, answers are checked"
    )


class Structured:
    """One structured caption per video."""

    name = "structured"
    defaults = RecipeDefaults(
        model="Skywork/SkyCaptioner-V1",
        prompt="structured.txt",
        system="",
        plan=SamplingPlan(
            num_frames=16, include_last=False, max_pixels=PUBLISHED_SIZE[0] * PUBLISHED_SIZE[1]
        ),
        generation=GenerationConfig(temperature=0.05, max_tokens=2048, seed=42),
        max_model_len=31_920,
        max_num_seqs=32,
        media={"video": 1, "image": 1},
        options=StructuredOptions,
    )

    def __init__(self, settings: RecipeSettings) -> None:
        options: StructuredOptions = settings.options
        assert settings.plan is not None
        self.plan = settings.plan
        if options.published_size:
            self.plan = self.plan.model_copy(update={"stretch_to": PUBLISHED_SIZE})
        self._settings = settings
        self._schema = json_schema() if options.guided else None
        self._rules: list[validators.Validator] = [
            # First, because guided decoding lets a model that is stuck write white space to its
            # last token, which then looks like an empty answer.
            validators.complete,
            validators.structured,
            validators.no_repeated_subjects,
            validators.no_endless_repetition_in_fields,
        ]

    async def caption(self, video: Video, engine: Asker) -> Sequence[CaptionRow]:
        """One row for the whole video; see :class:`schemas.recipe.Recipe`."""
        settings, clip = self._settings, video.clip
        assert clip is not None
        outcome = await ask_for_video(
            engine, settings, rules=self._rules, clip=clip, json_schema=self._schema
        )
        valid = validators.structured(outcome.answer) is None
        read = StructuredCaption.model_validate_json(outcome.answer.text) if valid else None
        return [
            caption_row(
                video,
                outcome,
                settings,
                info=clip.info,
                num_frames=clip.num_frames,
                structured=read,
            )
        ]
