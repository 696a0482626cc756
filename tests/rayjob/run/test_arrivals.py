"""How the driver's loop hears of results."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
import ray.data

from rayjob.run import arrivals, graph
from rayjob.run.arrivals import arriving


def test_tables_ticks_and_the_end_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "_POLL_SECONDS", 0.05)
    empty, full = pa.table({}), pa.table({"a": [1]})

    def tables() -> Iterator[pa.Table]:
        yield full
        time.sleep(0.3)
        yield empty

    found = list(arriving(tables()))
    assert [each for each in found if isinstance(each, pa.Table)] == [full, empty]
    ticks = [number for number, each in enumerate(found) if isinstance(each, arrivals.Tick)]
    assert len(ticks) >= 3
    assert ticks[-1] == len(found) - 1, "what the last table brought is looked at too"


def test_an_error_of_the_graph_comes_out_of_the_loop() -> None:
    def tables() -> Iterator[pa.Table]:
        yield pa.table({"a": [1]})
        raise KeyboardInterrupt

    found = arriving(tables())
    assert isinstance(next(found), pa.Table)
    with pytest.raises(KeyboardInterrupt):
        next(found)


class _NeverReady:
    """An actor of a pool that takes its time to start."""

    def __init__(self) -> None:
        time.sleep(600)

    def __call__(self, batch: Any) -> Any:
        return batch


def test_a_graph_ends_with_the_loop_over_it(local_ray: None) -> None:
    """Ray Data's threads would else ask for Ray when it has shut down, and that ends a process with
    an exit code of Ray's own."""
    before = set(threading.enumerate())
    graph._configure(pool_grows_at=1.0)
    waiting = ray.data.range(4).map_batches(
        _NeverReady, batch_size=1, compute=ray.data.ActorPoolStrategy(size=1)
    )
    with contextlib.closing(arriving(waiting.iter_batches(batch_size=None))) as found:
        assert isinstance(next(found), arrivals.Tick)
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert not {name for name in left if name == "results" or "StreamingExecutor" in name}, left
