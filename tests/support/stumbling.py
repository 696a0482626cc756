"""A recipe whose chains fail at a window of the user's choice, to inject that fault."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from rayjob.recipes.longform.clips import Clips, ClipsOptions
from schemas.errors import RequestRejectedError
from schemas.recipe import Answer, Engine, Request, Video
from schemas.tables import CaptionRow


class StumblingOptions(ClipsOptions):
    stumble_at: int | None = Field(default=None, description="number of the window, from 1")


class Stumbling(Clips):
    """Captions as ``clips`` does, but videos named ``stumble-...`` not to their end."""

    name = "stumbling"
    options = StumblingOptions()

    async def caption(self, video: Video, engine: Engine) -> Sequence[CaptionRow]:
        at = self.options.stumble_at
        if at is not None and video.video_id.startswith("stumble-"):
            engine = _Stumble(engine, at)
        return await super().caption(video, engine)


class _Stumble:
    def __init__(self, engine: Engine, at: int) -> None:
        self._engine = engine
        self.max_model_len = engine.max_model_len
        self.count_tokens = engine.count_tokens
        self._windows_left = at

    async def ask(self, request: Request) -> Answer:
        if request.clip is not None and request.clip.num_frames > 1:
            self._windows_left -= 1
            if not self._windows_left:
                raise RequestRejectedError("refused on purpose")
        return await self._engine.ask(request)
