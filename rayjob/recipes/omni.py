"""Recipes ``omni``, ``heard`` and ``seen``: one paragraph from picture and sound together, from the
sound alone, or from the picture alone (UGC-VideoCaptioner).

Follows openinterx/UGC-VideoCaptioner: 32 frames evenly over the clip, sound at 16 kHz
inside the video, temperature 0.2, 1,024 tokens, up to three attempts. Its script keeps
only answers that end with a level tag which its prompt never asks for; here an answer is
checked for what the prompt does ask. The three are the stages in which its benchmark was annotated:
each is a captioning of its own, side by side in one output.
"""

from __future__ import annotations

from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.rules import (
    complete,
    no_endless_repetition,
    non_empty,
    one_paragraph,
    prose,
)
from schemas.config import GenerationConfig
from schemas.media import SamplingPlan


class Omni(BaseRecipe):
    """One caption per video, of what is seen and heard."""

    name = "omni"
    model = "openinterx/UGC-VideoCaptioner"
    prompt = "prompts/omni.txt"
    plan = SamplingPlan(num_frames=32, max_pixels=100_352, audio_rate=16_000)
    sound = "require"
    generation = GenerationConfig(temperature=0.2, max_tokens=1024, seed=42)
    rules = (non_empty, prose, no_endless_repetition, complete, one_paragraph)
    max_model_len = 20_000


class Heard(Omni):
    """One caption per video, of its sound alone; a video without sound is a failure."""

    name = "heard"
    prompt = "prompts/heard.txt"
    plan = SamplingPlan(num_frames=0, audio_rate=16_000)


class Seen(Omni):
    """One caption per video, of its picture alone."""

    name = "seen"
    prompt = "prompts/seen.txt"
    plan = SamplingPlan(num_frames=32, max_pixels=100_352)
