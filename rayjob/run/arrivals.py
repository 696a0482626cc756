"""What comes out of the graph, as the driver takes it: with time to look at the run in between."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import pyarrow as pa

from rayjob.run import graph

_POLL_SECONDS = 0.5
_MAX_WAITING_TABLES = 64
_STOP_SECONDS = 30.0


class Tick:
    """Time to look at the run: about twice a second, and once after the last table."""


@dataclass(frozen=True)
class _End:
    """No table comes any more, because of an error unless it is None."""

    error: BaseException | None = None


def arriving(tables: Iterator[pa.Table]) -> Generator[pa.Table | Tick]:
    """The tables as they come, and ticks in between. The graph ends with it, however that ends."""
    arrived: queue.Queue[pa.Table | _End] = queue.Queue(_MAX_WAITING_TABLES)

    def pull() -> None:
        try:
            for table in tables:
                arrived.put(table)
            arrived.put(_End())
        except BaseException as error:
            arrived.put(_End(error))

    thread = threading.Thread(target=pull, name="results", daemon=True)
    thread.start()
    due = time.monotonic() + _POLL_SECONDS
    try:
        while True:
            # Nothing arrives for long stretches.
            with contextlib.suppress(queue.Empty):
                arrival = arrived.get(timeout=max(0.01, due - time.monotonic()))
                if isinstance(arrival, _End):
                    if arrival.error is not None:
                        raise arrival.error
                    yield Tick()
                    return
                yield arrival
            if time.monotonic() >= due:
                due = time.monotonic() + _POLL_SECONDS
                yield Tick()
    finally:
        # A thread that asks Ray for something once that has shut down ends the process with an
        # exit code of Ray's own.
        graph.stop()
        until = time.monotonic() + _STOP_SECONDS
        while thread.is_alive() and time.monotonic() < until:
            with contextlib.suppress(queue.Empty):
                arrived.get(timeout=0.1)
