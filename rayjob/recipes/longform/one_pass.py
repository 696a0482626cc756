"""Recipe ``one-pass``: a long caption from frames of the whole video at once.

What LongCaption-Agent is compared with: a model asked once, about 128 frames evenly over the video
or, with another plan, one frame every 6 s (``recipe.plan.fps`` of 0.1667); temperature 0.2, 2,048
tokens, as its paper gives for the models that it evaluates.
"""

from __future__ import annotations

from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.rules import (
    complete,
    ends_with_a_sentence,
    no_endless_repetition,
    non_empty,
    prose,
)
from schemas.config import GenerationConfig
from schemas.media import SamplingPlan


class OnePass(BaseRecipe):
    """One long caption per video."""

    name = "one-pass"
    model = "openbmb/MiniCPM-V-2_6"
    prompt = "prompts/one_pass.txt"
    plan = SamplingPlan(num_frames=128, max_pixels=200_704, compress=True)
    generation = GenerationConfig(temperature=0.2, max_tokens=2048, seed=42)
    rules = (non_empty, prose, no_endless_repetition, complete, ends_with_a_sentence)
    # It looks at moments of any video, and hears nothing.
    on_too_long = "sample"
