"""A driver whose graph has the two stages of a job, on the cluster of RAY_ADDRESS.

    python -m tests.support.deployment.two_stages SECONDS FILE

Two decoders and two engines hold a CPU each, and the decoders wait until there is the file; after
so many seconds in which nothing moves the idle ones make room. Prints each row that comes through,
and at last "all".
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.monitor import Monitor
from actors.room import Place

ROWS = 20


class Stage:
    """A callable that holds its place while it waits for a file."""

    def __init__(self, monitor: Any, awaited: str = "/") -> None:
        self._place = Place(monitor, kind="")
        self._awaited = Path(awaited)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        with self._place.working():
            while not self._awaited.exists():
                time.sleep(0.2)
        return batch


class Decoding(Stage):
    """The first one."""


class Captioning(Stage):
    """The second one."""


def rows(monitor: Any, awaited: str) -> Iterator[Any]:
    graph = ray.data.range(ROWS, override_num_blocks=ROWS)
    graph = graph.map_batches(
        Decoding,
        fn_constructor_args=(monitor, awaited),
        num_cpus=1,
        compute=ActorPoolStrategy(size=2, max_tasks_in_flight_per_actor=2),
    ).map_batches(
        Captioning,
        fn_constructor_args=(monitor,),
        num_cpus=1,
        num_gpus=0.5,
        batch_size=1,
        compute=ActorPoolStrategy(size=2, max_tasks_in_flight_per_actor=2),
    )
    yield from graph.iter_rows()


def main(room_sec: float, awaited: str) -> None:
    ray.init(log_to_driver=False)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(Monitor)
    monitor = actor.options(num_cpus=0, scheduling_strategy=here).remote(room_sec=room_sec)
    DataContext.get_current().enable_progress_bars = False
    arrived: queue.Queue[Any] = queue.Queue()

    def pull() -> None:
        for row in rows(monitor, awaited):
            arrived.put(row)
        arrived.put(None)

    threading.Thread(target=pull, daemon=True).start()
    seen, moved = list[int](), time.monotonic()
    while True:
        ray.get(monitor.snapshot.remote(time.monotonic() - moved))
        try:
            row = arrived.get(timeout=0.5)
        except queue.Empty:
            continue
        if row is None:
            break
        seen.append(row["id"])
        moved = time.monotonic()
        print("row", len(seen), flush=True)
    assert sorted(seen) == list(range(ROWS))
    print("all", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])
