"""Recipe ``omni``: one paragraph from picture and sound together (UGC-VideoCaptioner).

Follows openinterx/UGC-VideoCaptioner: 32 frames evenly over the clip, sound at 16 kHz
inside the video, temperature 0.2, 1,024 tokens, up to three attempts. Its script keeps
only answers that end with a level tag which its prompt never asks for; here an answer is
checked for what the prompt does ask.
"""

from __future__ import annotations

from collections.abc import Sequence

from rayjob.recipes import rules as validators
from rayjob.recipes.asking import ask_for_video
from rayjob.recipes.rows import caption_row
from rayjob.recipes.settings import RecipeDefaults, RecipeSettings
from schemas.config import GenerationConfig
from schemas.media import SamplingPlan
from schemas.recipe import Asker, Video
from schemas.tables import CaptionRow


class Omni:
    """One caption per video."""

    name = "omni"
    defaults = RecipeDefaults(
        model="openinterx/UGC-VideoCaptioner",
        prompt="omni.txt",
        system=(
            "You watch videos and listen to their sound, and you answer in text. "
            "Make the answer long and detailed."
        ),
        plan=SamplingPlan(num_frames=32, max_pixels=100_352, audio_rate=16_000),
        generation=GenerationConfig(temperature=0.2, max_tokens=1024, seed=42),
        max_model_len=20_000,
        max_num_seqs=64,
        media={"video": 1, "audio": 1, "image": 1},
    )

    def __init__(self, settings: RecipeSettings) -> None:
        self.plan = settings.plan
        self._settings = settings
        self._rules: list[validators.Validator] = [
            validators.non_empty,
            validators.complete,
            validators.one_paragraph,
            validators.no_endless_repetition,
        ]
        if settings.min_words:
            self._rules.append(validators.min_words(settings.min_words))

    async def caption(self, video: Video, engine: Asker) -> Sequence[CaptionRow]:
        """One row for the whole video; see :class:`schemas.recipe.Recipe`."""
        settings, clip = self._settings, video.clip
        assert clip is not None
        outcome = await ask_for_video(engine, settings, rules=self._rules, clip=clip)
        return [caption_row(video, outcome, settings, info=clip.info, num_frames=clip.num_frames)]
