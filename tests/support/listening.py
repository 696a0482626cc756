"""A recipe that asks for sound in its constructor, whatever its defaults are."""

from __future__ import annotations

from rayjob.recipes.settings import RecipeSettings
from rayjob.recipes.structured import Structured


class Listening(Structured):
    """Structured captions of what is seen and heard."""

    name = "listening"

    def __init__(self, settings: RecipeSettings) -> None:
        super().__init__(settings)
        self.plan = self.plan.model_copy(update={"audio_rate": 16_000})
