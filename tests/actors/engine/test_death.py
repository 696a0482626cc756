"""The engine's death: our own error at the engine, the end of the process at the replica."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest
from vllm.v1.engine.exceptions import EngineDeadError

from actors.engine.stats import EngineStats
from actors.engine.vllm_engine import VllmEngine
from actors.flights import Flights
from actors.gate import Gate
from actors.metrics import CaptionMetrics
from actors.monitor import Standing
from actors.replica import JudgeReplica, Replica
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
    engine._reasoning = None
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

    def remote(self, *_: Any, **__: Any) -> asyncio.Future[None]:
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


class Beats:
    """In place of the guard."""

    def __init__(self) -> None:
        self.count = 0

    def beat(self) -> None:
        self.count += 1


R = TypeVar("R", bound=Replica)


def replica(kind: type[R], engine: VllmEngine, *, patience: float = 60) -> R:
    made = kind.__new__(kind)
    made.engine, made._guard, made._patience = engine, Beats(), patience  # type: ignore[assignment]
    return made


def done(value: Any) -> Callable[..., Awaitable[Any]]:
    async def answer(*_: Any) -> Any:
        return value

    return answer


class EngineDeadErrorOfAnother(Exception):
    """Only its name is alike."""


EngineDeadErrorOfAnother.__name__ = "EngineDeadError"


@pytest.mark.parametrize(
    ("error", "ends"), [(EngineDiedError("x"), True), (EngineDeadErrorOfAnother("x"), False)]
)
def test_the_replica_ends_with_its_engine(leaving: None, error: Exception, ends: bool) -> None:
    captioner = Captioner.__new__(Captioner)
    captioner._recipe = Raising(error)
    captioner._replica = replica(Replica, dead_engine())
    values = {"video_id": "a", "uri": "/a", "attempts": 0}
    row = dict.fromkeys(INPUTS.names) | values
    batch = undecoded_table([row])
    assert batch.schema.equals(DECODED)

    async def caption() -> None:
        captioner._gate = Gate(1, most_bytes=1)
        captioner._flights = Flights(Remote(), engine_id="e", node_id="n")
        await captioner._caption(batch, 0, row, Standing())

    with pytest.raises(Died if ends else EngineDeadErrorOfAnother):
        asyncio.run(caption())


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise Died(code)

    monkeypatch.setattr(os, "_exit", leave)


def test_a_judge_ends_with_its_engine(leaving: None) -> None:
    judge = replica(JudgeReplica, dead_engine())
    judge._beating = asyncio.Future(loop=asyncio.new_event_loop())
    judge.engine.prepare = done({})  # type: ignore[method-assign]
    with pytest.raises(Died):
        asyncio.run(judge.ask(Request(prompt="?")))


@pytest.mark.parametrize(("running", "ends"), [(1, True), (0, False)])
@pytest.mark.parametrize("kind", [Captioner, JudgeReplica])
def test_a_replica_ends_with_an_engine_that_stands_still(
    leaving: None, monkeypatch: pytest.MonkeyPatch, kind: type, running: int, ends: bool
) -> None:
    for module in ("stages", "replica"):
        monkeypatch.setattr(f"actors.{module}.BEAT_SECONDS", 0.05)
    engine = dead_engine()
    engine.stats.running = running
    judge = replica(JudgeReplica, engine, patience=0.3)
    captioner = Captioner.__new__(Captioner)
    captioner._monitor, captioner._engine_id, captioner._replica = Remote(), "e", judge
    captioner._metrics = CaptionMetrics(recipe="r", capacity=1)
    captioner._max_num_seqs, captioner._follows_queue = 1, True
    captioner._gate = Gate(1, most_bytes=1)

    async def watch() -> None:
        watching = captioner._report() if kind is Captioner else judge._beat()
        await asyncio.wait_for(watching, timeout=1.5)

    with pytest.raises(Died if ends else TimeoutError):
        asyncio.run(watch())
    assert judge._guard.count > 2  # type: ignore[attr-defined]


def test_pieces_of_answers_are_signs_of_life() -> None:
    stats = EngineStats(running=1)
    stats._changed_at -= 3
    stats.step(0)
    assert stats.silent_sec == pytest.approx(3, abs=0.1)
    stats.sign()
    assert stats.silent_sec == 0.0
    stats._changed_at -= 3600
    stats.step(0)
    assert stats.silent_sec <= 5, "the machine was suspended"
    stats.step(-1)
    stats.step(0)
    assert stats.silent_sec == 0.0, "there is nothing to do"
