"""The command as a user runs it, with what a round of chaos changes in it: the lock's patience and
clock, the name of its machine, and an engine that answers without a model.

What it is to change comes in the environment, as the command line is the user's.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

import actors.stages
from actors.engine.loading import EngineSettings
from actors.engine.stats import EngineStats
from rayjob import caption
from rayjob.output import lock
from rayjob.run import graph, job
from schemas.recipe import Answer, Request

HOST, SLEPT, ENGINE = "CHAOS_HOST", "CHAOS_SLEPT", "CHAOS_ENGINE"
"""Environment: the machine's name; a file with the seconds for which it has slept; "null", or
"real".
"""

LOCK_SEC = 8.0
"""Time without a heartbeat after which a run on another machine counts as dead."""

_ANSWER_SEC = 0.15


class NullEngine:
    """Stands in for :class:`actors.engine.vllm_engine.VllmEngine`: says the same of any clip."""

    def __init__(self, _settings: EngineSettings) -> None:
        self.stats = EngineStats()
        self.max_model_len = 1 << 20

    async def ask(self, _request: Request) -> Answer:
        self.stats.step(+1)
        try:
            await asyncio.sleep(_ANSWER_SEC)
        finally:
            self.stats.step(-1)
        self.stats.sign()
        self.stats.pieces += 1
        self.stats.requests += 1
        text = "A small red square moves right on a black background."
        return Answer(text=text, finish_reason="stop", prompt_tokens=100, output_tokens=11)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


class NullCaptioner(actors.stages.Captioner):
    """A replica around a :class:`NullEngine`."""

    def __init__(self, **settings: Any) -> None:
        EngineSettings.start = lambda settings: NullEngine(settings)  # type: ignore
        super().__init__(**settings)


def main() -> None:
    host, slept, clock = os.environ[HOST], Path(os.environ[SLEPT]), lock._clock
    socket.gethostname = lambda: host
    lock._clock = lambda: clock() + float(slept.read_text())
    vars(job)["RunLock"] = functools.partial(lock.RunLock, ttl=LOCK_SEC)
    if os.environ[ENGINE] == "null":
        vars(graph)["Captioner"] = NullCaptioner
    typer.run(caption.command)


if __name__ == "__main__":
    main()
