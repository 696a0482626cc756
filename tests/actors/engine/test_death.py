"""The engine's death: our own error at the engine, the end of the process at the replica."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from vllm.v1.engine.exceptions import EngineDeadError

from actors.engine.stats import EngineStats
from actors.engine.vllm_engine import VllmEngine
from actors.gate import Gate
from actors.stages import Captioner
from schemas.blocks import DECODED, INPUTS, undecoded_table
from schemas.errors import EngineDiedError, VideoError
from schemas.recipe import Request


class DeadLLM:
    """vLLM's front end after the process behind it is gone."""

    async def generate(self, *_: Any) -> AsyncIterator[Any]:
        raise EngineDeadError
        yield


def dead_engine() -> VllmEngine:
    engine = VllmEngine.__new__(VllmEngine)
    engine._llm = DeadLLM()  # type: ignore[assignment]
    engine._ids = iter(range(9))  # type: ignore[assignment]
    engine.stats = EngineStats()
    return engine


def test_the_engine_raises_our_own_error() -> None:
    engine = dead_engine()
    with pytest.raises(EngineDiedError, match="the engine died"):
        asyncio.run(engine.generate({}, Request(prompt="?")))
    assert engine.stats.running == 0
    assert not issubclass(EngineDiedError, VideoError), "no row in a table may hold it"


class Died(BaseException):
    """In place of the end of the process."""


class Remote:
    """In place of the monitor's handle."""

    def __getattr__(self, _: str) -> Remote:
        return self

    def remote(self, *_: Any) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class Raising:
    """A recipe in which an error comes up."""

    name, plan = "raising", None

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def caption(self, *_: Any) -> Any:
        raise self._error


class EngineDeadErrorOfAnother(Exception):
    """Only its name is alike."""


EngineDeadErrorOfAnother.__name__ = "EngineDeadError"


@pytest.mark.parametrize(
    ("error", "ends"), [(EngineDiedError("x"), True), (EngineDeadErrorOfAnother("x"), False)]
)
def test_the_replica_ends_with_its_engine(
    monkeypatch: pytest.MonkeyPatch, error: Exception, ends: bool
) -> None:
    def leave(code: int) -> None:
        raise Died(code)

    monkeypatch.setattr(os, "_exit", leave)
    captioner = Captioner.__new__(Captioner)
    captioner._recipe, captioner._monitor = Raising(error), Remote()
    captioner._node_id, captioner._engine_id = "n", "e"
    captioner._engine = dead_engine()
    values = {"video_id": "a", "uri": "/a", "attempts": 0}
    row = dict.fromkeys(INPUTS.names) | values
    batch = undecoded_table([row])
    assert batch.schema.equals(DECODED)

    async def caption() -> None:
        captioner._gate = Gate()
        await captioner._caption(batch, 0, row, 0)

    with pytest.raises(Died if ends else EngineDeadErrorOfAnother):
        asyncio.run(caption())
