"""An engine and the process around it, which end together: what captioning and judging share."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import NoReturn

from actors.engine.loading import EngineSettings
from actors.engine.remote_engine import RemoteSettings
from actors.engine.stats import EngineStats
from actors.engine.vllm_engine import VllmEngine
from actors.guard import Guard
from schemas.errors import EngineDiedError
from schemas.recipe import Answer, Request

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
"""How often a replica is to :meth:`Replica.beat`."""


class Replica:
    """An engine in a process that ends with it, so that Ray starts both again; however the
    process ends, its guard ends the engine.

    Args:
        patience: seconds without a token of a busy engine, or without a beat, after which the
            process ends.

    Raises:
        ModelError: from the constructor, as of the engine.
    """

    def __init__(self, settings: EngineSettings | RemoteSettings, *, patience: float) -> None:
        self._patience = patience
        # First, as it looks after what the engine starts.
        self._guard = Guard(patience=patience)
        self.engine = settings.start()

    def stats(self) -> EngineStats:
        """The engine's counters, up to date."""
        self.engine.stats.step(0)
        return self.engine.stats

    def beat(self) -> None:
        """Give a sign of life; end the process where the engine gives none.

        From the first one on they are waited for.
        """
        self._guard.beat()
        silent_sec = self.stats().silent_sec
        if silent_sec > self._patience:
            self.start_again(
                EngineDiedError(f"no sign of life of the engine for {silent_sec:.0f} s")
            )

    def start_again(self, error: EngineDiedError) -> NoReturn:
        """End the process without Ray's clean-up: Ray restarts the actor and runs its tasks
        again.
        """
        logger.error("%s; the replica starts again", error)
        os._exit(1)


class JudgeReplica(Replica):
    """A Ray actor that answers one request after the other, many at once."""

    _beating: asyncio.Task[None] | None = None

    async def ask(self, request: Request) -> Answer:
        """Answer a request. Raises CaptionError where the engine refuses it."""
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat())
        try:
            return await self.engine.ask(request)
        except EngineDiedError as error:
            self.start_again(error)

    async def _beat(self) -> None:
        while True:
            self.beat()
            await asyncio.sleep(BEAT_SECONDS)

    def close(self) -> None:
        """Stop the engine's processes."""
        assert isinstance(self.engine, VllmEngine)  # a judge elsewhere needs no replica
        self.engine.close()
