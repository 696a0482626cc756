"""How the monitor hears of an engine's videos."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from typing import Any

import pytest

from actors import flights
from actors.flights import Flights

Call = tuple[list[tuple[str, bool]], list[str]]


class Monitor:
    """In place of the monitor's handle; answers after a while."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.fly = self

    async def remote(
        self, *_: str, begun: Sequence[tuple[str, bool]], ended: Sequence[str]
    ) -> None:
        self.calls.append(([*begun], [*ended]))
        await asyncio.sleep(0.01)


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


def of(monitor: Any) -> Flights:
    return Flights(monitor, engine_id="engine", node_id="node")


async def test_videos_that_begin_together_are_told_in_one_call(monitor: Monitor) -> None:
    told = of(monitor)
    await asyncio.gather(told.begin("a"), told.begin("b"), told.begin("c", alone=True))
    assert monitor.calls == [([("a", False), ("b", False), ("c", True)], [])]


async def test_an_end_is_told_with_the_next_begin_at_the_latest(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights, "_PACE_SECONDS", 0.05)
    told = of(monitor)
    await told.begin("a")
    told.end("a")
    await told.begin("b", alone=True)
    assert monitor.calls[1:] == [([("b", True)], ["a"])]
    told.end("b")
    await asyncio.sleep(0.1)
    assert monitor.calls[2:] == [([], ["b"])]


async def test_many_are_told_in_few_calls(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights, "_PACE_SECONDS", 0.05)
    told = of(monitor)

    async def work(number: int) -> None:
        await asyncio.sleep(number / 1000)
        await told.begin(str(number))
        assert any((str(number), False) in begun for begun, _ in monitor.calls)
        told.end(str(number))

    await asyncio.gather(*(work(number) for number in range(200)))
    await asyncio.sleep(0.1)
    assert len(monitor.calls) < 20
    ended = [video for _, videos in monitor.calls for video in videos]
    assert sorted(map(int, ended)) == list(range(200))


async def test_few_of_many_in_flight_wait_longer_and_none_waits_long(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights, "_PACE_SECONDS", 0.02)
    monkeypatch.setattr(flights, "_LONGEST_SECONDS", 1.0)
    told = of(monitor)
    await asyncio.gather(*(told.begin(str(number)) for number in range(64)))
    began = time.monotonic()
    await told.begin("one of 65")
    assert time.monotonic() - began > 0.9
    began = time.monotonic()
    await asyncio.gather(*(told.begin(letter) for letter in "abcdefgh"))
    assert time.monotonic() - began < 0.9
    assert len(monitor.calls) == 3


async def test_who_is_cancelled_leaves_the_others_be(monitor: Monitor) -> None:
    told = of(monitor)
    first, second = (asyncio.create_task(told.begin(each)) for each in "ab")
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()


async def test_a_monitor_that_is_gone_is_heard_of_by_who_begins(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: str, **__: Any) -> None:
        raise ConnectionError("the monitor is gone")

    monkeypatch.setattr(monitor, "remote", fail)
    monkeypatch.setattr(flights, "_PACE_SECONDS", 0.01)
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: unheard.append(what))
    told = of(monitor)
    with pytest.raises(ConnectionError):
        await told.begin("a")
    told.end("a")
    await asyncio.sleep(0.05)
    gc.collect()
    assert not unheard
