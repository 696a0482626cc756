"""A recipe that kills the engine's process on some videos, to inject that fault."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from rayjob.recipes.omni import Omni
from schemas.recipe import Engine, Video
from schemas.tables import CaptionRow


class Poisoned(Omni):
    """Captions as ``omni`` does, and dies of a video whose id says so."""

    name = "poisoned"

    async def caption(self, video: Video, engine: Engine) -> Sequence[CaptionRow]:
        if "poison" in video.video_id:
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().caption(video, engine)
