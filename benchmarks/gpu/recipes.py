"""Requests of fixed size, so that random weights cost what real ones do."""

from __future__ import annotations

from rayjob.recipes.base import BaseRecipe
from schemas.config import GenerationConfig
from schemas.media import SamplingPlan

TOKENS = 256
"""Of each answer: random weights hardly ever end one by themselves."""


class Seen(BaseRecipe):
    """Six frames of 448 x 448."""

    name = "seen-fixed"
    prompt = "Describe the video."
    plan = SamplingPlan(num_frames=6, max_pixels=448 * 448)
    generation = GenerationConfig(temperature=1.0, max_tokens=TOKENS)
    rules = ()


class Heard(Seen):
    """As the published captioner of picture and sound samples: 32 frames of 100,352 pixels."""

    name = "heard-fixed"
    plan = SamplingPlan(num_frames=32, max_pixels=100_352, audio_rate=16_000)
