"""A recipe whose chains fail at a window of the user's choice, to inject that fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pydantic import Field

from rayjob.recipes.clips import Clips, ClipsOptions
from rayjob.recipes.settings import RecipeSettings
from schemas.errors import RequestRejectedError
from schemas.recipe import Answer, Asker, Request, Video
from schemas.tables import CaptionRow


class StumblingOptions(ClipsOptions):
    stumble_at: int | None = Field(default=None, description="number of the window, from 1")


class Stumbling(Clips):
    """Captions as ``clips`` does, but videos named ``stumble-...`` not to their end."""

    name = "stumbling"
    defaults = dataclasses.replace(Clips.defaults, options=StumblingOptions)

    def __init__(self, settings: RecipeSettings) -> None:
        super().__init__(settings)
        self._at: int | None = settings.options.stumble_at

    async def caption(self, video: Video, engine: Asker) -> Sequence[CaptionRow]:
        if self._at is not None and video.video_id.startswith("stumble-"):
            engine = _Stumble(engine, self._at)
        return await super().caption(video, engine)


class _Stumble:
    def __init__(self, engine: Asker, at: int) -> None:
        self._engine = engine
        self._windows_left = at

    async def ask(self, request: Request) -> Answer:
        if request.clip is not None and request.clip.num_frames > 1:
            self._windows_left -= 1
            if not self._windows_left:
                raise RequestRejectedError("refused on purpose")
        return await self._engine.ask(request)
