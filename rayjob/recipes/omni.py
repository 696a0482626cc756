"""Recipe ``omni``: one paragraph from picture and sound together (UGC-VideoCaptioner).

Follows openinterx/UGC-VideoCaptioner: 32 frames evenly over the clip, sound at 16 kHz
inside the video, temperature 0.2, 1,024 tokens, up to three attempts. Its script keeps
only answers that end with a level tag which its prompt never asks for; here an answer is
checked for what the prompt does ask.
"""

from __future__ import annotations

from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.rules import complete, no_endless_repetition, non_empty, one_paragraph
from schemas.config import GenerationConfig
from schemas.media import SamplingPlan


class Omni(BaseRecipe):
    """One caption per video."""

    name = "omni"
    model = "openinterx/UGC-VideoCaptioner"
    prompt = "prompts/omni.txt"
    system = (
        "You watch videos and listen to their sound, and you answer in text. "
        "Make the answer long and detailed."
    )
    plan = SamplingPlan(num_frames=32, max_pixels=100_352, audio_rate=16_000)
    sound = "require"
    generation = GenerationConfig(temperature=0.2, max_tokens=1024, seed=42)
    rules = (non_empty, complete, one_paragraph, no_endless_repetition)
    max_model_len = 20_000
