"""A recipe that asks for sound when it is made, whatever its class says."""

from __future__ import annotations

from rayjob.recipes.structured import Structured


class Listening(Structured):
    """Structured captions of what is seen and heard."""

    name = "listening"

    def set_up(self) -> None:
        super().set_up()
        assert self.plan is not None
        self.plan = self.plan.model_copy(update={"audio_rate": 16_000})
