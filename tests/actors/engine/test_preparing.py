"""Requests prepared beside the engine: the same input, and what a death or a long wait costs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from actors.engine.loading import EngineSettings, Loaded
from actors.engine.preparing import pool as prepare_pool
from actors.engine.preparing.channel import Channel
from actors.engine.preparing.here import PrepareHere
from actors.engine.preparing.pool import PreparePool
from schemas.errors import (
    EngineDiedError,
    PreparationDiedError,
    PreparationTimeoutError,
    PromptTooLongError,
    RequestRejectedError,
)
from schemas.media import Clip
from schemas.recipe import Request
from tests.support.models.engines import loaded
from tests.support.renderers import OMNI

SETTINGS = EngineSettings(model=str(OMNI), base_dir=".", revision=None, on_gpu=False, args={})


def clip(frames: int = 8, *, seed: int = 0, seconds: float = 4.0) -> Clip:
    noise = np.random.default_rng(seed)
    return Clip(
        duration_sec=seconds,
        frames=noise.integers(0, 255, (frames, 84, 112, 3)).astype(np.uint8),
        timestamps=np.linspace(0, seconds - 0.1, frames),
        audio=noise.normal(0, 0.1, int(seconds * 16_000)).astype(np.float32),
        audio_rate=16_000,
    )


def request(**changes: Any) -> Request:
    return Request(**{"prompt": "Tell.", "clip": clip(), **changes})


@dataclass(frozen=True)
class Beside:
    """The embedded model's processor, in this process and in a pool beside it."""

    model: Loaded
    pool: PreparePool
    loop: asyncio.Runner

    def prepare(self, *requests: Request) -> list[Any]:
        async def run() -> list[Any]:
            asked = [self.pool.prepare(each) for each in requests]
            return await asyncio.gather(*asked, return_exceptions=True)

        return self.loop.run(run())

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.pool._process.pid).children()


@pytest.fixture(scope="module")
def beside() -> Iterator[Beside]:
    model = loaded(OMNI, max_model_len=1024)
    pool = PreparePool(SETTINGS, model.config, processes=2)
    with asyncio.Runner() as loop:
        pool.wait_until_ready(request())
        yield Beside(model, pool, loop)
    pool.close()
    assert not psutil.pid_exists(pool._process.pid)


def plain(value: Any) -> Any:
    """What an input holds, in terms that can be compared; the moment that it came at left out."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.double().tolist()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if key != "arrival_time"}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "__dict__") or hasattr(value, "__slots__"):
        names = getattr(value, "__slots__", None) or vars(value)
        return {name: plain(getattr(value, name, None)) for name in names}
    if hasattr(value, "items"):
        return plain(dict(value))
    return value


@pytest.mark.parametrize(
    "asked",
    [request(), request(clip=clip(1)), request(clip=None, system="Be short."), request(prompt="")],
    ids=["clip", "picture", "text", "silent"],
)
def test_the_engine_gets_the_same_from_both(beside: Beside, asked: Request) -> None:
    here = PrepareHere(beside.model.renderer, beside.model.prompts)
    inside = beside.loop.run(here.prepare(asked))
    (outside,) = beside.prepare(asked)
    assert inside["prompt_token_ids"] == outside["prompt_token_ids"]
    assert plain(outside) == plain(inside)


def test_each_request_gets_its_own_answer(beside: Beside) -> None:
    clips = [clip(2 + number % 3, seed=number) for number in range(12)]
    found = beside.prepare(*(request(clip=each) for each in clips))
    # What came before is not written over by what came later.
    again = [beside.prepare(request(clip=each))[0] for each in clips]
    assert [plain(each) for each in found] == [plain(each) for each in again]


def test_what_the_model_refuses_is_an_error_of_the_request(beside: Beside) -> None:
    long, good = beside.prepare(request(prompt="red " * 4000), request())
    assert isinstance(long, PromptTooLongError)
    assert good["prompt_token_ids"]


def test_an_error_that_nobody_foresaw_keeps_its_name(beside: Beside) -> None:
    (error,) = beside.prepare(request(prompt=None))  # type: ignore[arg-type]
    assert isinstance(error, RuntimeError | RequestRejectedError)
    assert beside.prepare(request())[0]["prompt_token_ids"], "the process goes on"


def test_no_process_sees_a_gpu(beside: Beside) -> None:
    beside.prepare(request())
    for process in (psutil.Process(beside.pool._process.pid), *beside.workers()):
        assert process.environ()["CUDA_VISIBLE_DEVICES"] == ""


def test_it_forks_from_one_thread(beside: Beside) -> None:
    assert psutil.Process(beside.pool._process.pid).num_threads() == 1


def test_a_death_costs_the_request_another_try(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_pool, "_GRACE_SEC", 0.0)
    beside.prepare(request(), request())
    for worker in beside.workers():
        worker.kill()
    first, second = beside.prepare(request(), request())
    assert first["prompt_token_ids"] == second["prompt_token_ids"]


@dataclass(frozen=True)
class _Deadly:
    """Where it is read, the process ends."""

    def __reduce__(self) -> Any:
        return _end, ()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class _Slow:
    """Takes a minute to be read."""

    def __reduce__(self) -> Any:
        return _wait, ()


def _wait() -> None:
    import time

    time.sleep(60)


def test_a_request_that_kills_costs_itself_alone(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_pool, "_GRACE_SEC", 0.0)
    deadly = request(json_schema={"end": _Deadly()})
    dead, *good = beside.prepare(deadly, *(request() for _ in range(6)))
    assert isinstance(dead, PreparationDiedError)
    assert dead.cause.doubtful
    assert all(each["prompt_token_ids"] for each in good)


def test_a_request_that_takes_too_long_ends(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside.prepare(request(), request())
    before = beside.workers()
    monkeypatch.setattr(prepare_pool, "LONGEST_SEC", 8.0)
    slow, good = beside.prepare(request(json_schema={"wait": _Slow()}), request())
    assert isinstance(slow, PreparationTimeoutError)
    assert good["prompt_token_ids"]
    gone, alive = psutil.wait_procs(before, timeout=10)
    assert (len(gone), len(alive)) == (1, 1)


def test_a_caller_that_gives_up_leaves_the_others_be(beside: Beside) -> None:
    async def run() -> list[Any]:
        tasks = [asyncio.create_task(beside.pool.prepare(request())) for _ in range(8)]
        await asyncio.sleep(0.01)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = beside.loop.run(run())
    assert all(each["prompt_token_ids"] for each in found[1::2])
    assert beside.prepare(request())[0]["prompt_token_ids"]


def test_without_the_first_process_nothing_is_prepared(beside: Beside) -> None:
    pool = PreparePool(SETTINGS, beside.model.config, processes=1)
    pool._process.kill()
    with pytest.raises(EngineDiedError, match="does not start"):
        pool.wait_until_ready()
    pool.close()


def test_messages_arrive_as_they_were() -> None:
    here, end = Channel.pair()
    there = Channel(end)
    sent = {
        "bfloat16": torch.randn(3, 5).to(torch.bfloat16),
        "strided": torch.arange(24).reshape(4, 6).T[::2],
        "single": torch.tensor(2.5),
        "empty": torch.empty(0, 7),
        "mask": torch.tensor([True, False]),
        "array": np.arange(10, dtype=np.int64),
        "text": "words",
    }
    here.send(sent)
    found = there.receive(1.0)
    assert found.keys() == sent.keys()
    for name, value in sent.items():
        if isinstance(value, torch.Tensor):
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value)
        else:
            assert np.array_equal(found[name], value)


def test_an_end_that_is_closed() -> None:
    here, end = Channel.pair()
    with pytest.raises(TimeoutError):
        here.receive(0.01)
    end.close()
    with pytest.raises(EOFError):
        here.receive()
    with pytest.raises(OSError):
        here.send("?")


@pytest.mark.parametrize("size", [1000, 70 << 20])
def test_a_channel_keeps_no_memory_of_large_messages(size: int) -> None:
    here, end = Channel.pair(reuses=True)
    there = Channel(end)
    for number in range(3):
        here.send(np.full(size, number, np.uint8))
        assert (there.receive(1.0) == number).all()
    assert (here._memory is None) is (size > 64 << 20)
    here.close()
    there.close()
