"""Recipes that the tests run jobs with."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from rayjob.recipes.omni import Omni
from rayjob.recipes.structured import Structured
from schemas.recipe import Engine, Video
from schemas.tables import CaptionRow

GATE = "RAYJOB_TEST_GATE"
"""Environment variable with the path of a file; while it is missing, videos whose id begins
with "held" wait inside the engine's actor."""


class Held(Omni):
    """Captions as ``omni`` does, some videos only when the gate is open: a run of known length."""

    name = "held"

    async def caption(self, video: Video, engine: Engine) -> Sequence[CaptionRow]:
        while video.video_id.startswith("held") and not Path(os.environ[GATE]).exists():
            await asyncio.sleep(0.1)
        return await super().caption(video, engine)


class Poisoned(Omni):
    """Captions as ``omni`` does, and kills the engine's process on a video whose id says so."""

    name = "poisoned"

    async def caption(self, video: Video, engine: Engine) -> Sequence[CaptionRow]:
        if "poison" in video.video_id:
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().caption(video, engine)


class Listening(Structured):
    """Structured captions of what is seen and heard: asks for sound when it is made, whatever
    its class says.
    """

    name = "listening"

    def set_up(self) -> None:
        super().set_up()
        assert self.plan is not None
        self.plan = self.plan.model_copy(update={"audio_rate": 16_000})
