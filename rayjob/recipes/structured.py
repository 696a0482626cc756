"""Recipe ``structured``: a video in fields (SkyCaptioner-V1).

Follows Skywork/SkyCaptioner-V1: 16 frames at i/16 of the way to the last one, temperature
0.05, 2,048 tokens. Its script stores the model's text as it is; here the schema guides the
decoding and every answer is checked against it. Its frames are stretched to 360 x 420
pixels; here they keep their shape within as many pixels, unless
``recipe.options.published_size`` asks for the former, and ``published_times`` for its times.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.rules import (
    complete,
    no_endless_repetition_in_fields,
    no_repeated_subjects,
    structured,
)
from schemas.config import GenerationConfig
from schemas.media import Clip, SamplingPlan
from schemas.recipe import Engine, Video
from schemas.settings import Settings
from schemas.structured import StructuredCaption
from schemas.tables import CaptionRow

PUBLISHED_SIZE = (360, 420)
"""Width and height in pixels."""

PUBLISHED_FRAME_SEC = 0.5
"""From frame to frame: two of them are 1.0 s on the model's clock."""


class StructuredOptions(Settings):
    """What only this recipe can be told."""

    published_size: bool = False
    """Stretch frames to 360 x 420 as the published script does."""
    published_times: bool = False
    """Tell the model that frames are half a second apart in every video, as the published script
    does: it gives its engine no times."""
    guided: bool = True
    """Guide the decoding by the schema; without, answers are only checked."""


class Structured(BaseRecipe):
    """One structured caption per video."""

    name = "structured"
    model = "Skywork/SkyCaptioner-V1"
    prompt = "prompts/structured.txt"
    plan: SamplingPlan = SamplingPlan(
        num_frames=16, include_last=False, max_pixels=PUBLISHED_SIZE[0] * PUBLISHED_SIZE[1]
    )
    generation = GenerationConfig(temperature=0.05, max_tokens=2048, seed=42)
    # Complete first, because guided decoding lets a model that is stuck write white space to its
    # last token, which then looks like an empty answer.
    rules = (complete, structured, no_repeated_subjects, no_endless_repetition_in_fields)
    options = StructuredOptions()
    max_model_len = 31_920
    max_num_seqs = 32
    # It looks at moments of any video, and hears nothing.
    on_too_long = "sample"

    def set_up(self) -> None:
        """Apply the options."""
        self._schema = StructuredCaption.model_json_schema() if self.options.guided else None
        if self.options.published_size:
            self.plan = self.plan.model_copy(update={"stretch_to": PUBLISHED_SIZE})

    async def caption_clip(self, video: Video, engine: Engine, clip: Clip) -> CaptionRow:
        """As of every recipe, with the answer in fields."""
        if self.options.published_times:
            times = PUBLISHED_FRAME_SEC * np.arange(clip.num_frames, dtype=np.float64)
            length = PUBLISHED_FRAME_SEC * clip.num_frames
            clip = dataclasses.replace(clip, timestamps=times, duration_sec=length)
        outcome = await self.ask(engine, clip=clip, json_schema=self._schema)
        valid = structured(outcome.answer) is None
        read = StructuredCaption.model_validate_json(outcome.answer.text) if valid else None
        return self.row(video, outcome, structured=read)
