"""A recipe that holds some videos back until a test lets them go: a run of known length."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from rayjob.recipes.omni import Omni
from schemas.recipe import Engine, Video
from schemas.tables import CaptionRow

GATE = "RAYJOB_TEST_GATE"
"""Environment variable with the path of a file; while it is missing, videos whose id begins
with "held" wait inside the engine's actor."""


class Held(Omni):
    """Captions as ``omni`` does, some videos only when the gate is open."""

    name = "held"

    async def caption(self, video: Video, engine: Engine) -> Sequence[CaptionRow]:
        while video.video_id.startswith("held") and not Path(os.environ[GATE]).exists():
            await asyncio.sleep(0.1)
        return await super().caption(video, engine)
