"""Ray Data's executor, once or several times: one alone ends at some thousand videos a second.

Several share out a run's to-do list, engines and decoders; each then runs a graph of its own over
its share, in an actor on the driver's node. All else there is once: the driver, which alone writes,
its lock, and the monitor. What an executor takes down with it is missing at the end of the run,
which therefore fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray
from ray.data import Dataset

from rayjob.capacity import cluster
from rayjob.capacity.pool import EnginePool
from rayjob.run import graph
from rayjob.run.graph import DecodePool
from schemas.blocks import unpacked

Pools = tuple[EnginePool | None, DecodePool | None]
"""Without decoders for a recipe that works on earlier captions, without engines for a split."""

ENGINES_PER_EXECUTOR = 64
"""The best published engines write some eleven captions a second each: such a share is well below
what one executor can do."""

_WAITING_BLOCKS = 64
_WAIT_SECONDS = 0.5


def shared_out(pools: Pools, executors: int | None, *, videos: int) -> list[Pools]:
    """The pools of each executor: at most one executor for each engine, decoder and video.

    Args:
        executors: how many are wanted; None for as many as the engines of a fixed pool need.
    """
    engines, decoders = pools
    limits = [videos]
    if engines is not None:
        limits.append(engines.min_replicas)
    if decoders is not None:
        limits.append(decoders.actors)
    if executors is None:
        executors = 1
        # Ray Data lets an executor's pool grow only on what the others leave of each node.
        if engines is not None and engines.min_replicas == engines.replicas:
            executors = -(-engines.replicas // ENGINES_PER_EXECUTOR)
    count = max(1, min(executors, *limits))

    def share(total: int, number: int) -> int:
        return total // count + (number < total % count)

    return [
        (
            engines
            and replace(
                engines,
                replicas=share(engines.replicas, number),
                min_replicas=share(engines.min_replicas, number),
            ),
            decoders and replace(decoders, actors=share(decoders.actors, number)),
        )
        for number in range(count)
    ]


def results(graphs: Sequence[Dataset]) -> Iterator[pa.Table]:
    """Run the graphs, each in an executor of its own, the only one in this process.

    Yields:
        tables of ``schemas.tables.RESULTS`` or ``SPLITS`` as they are made.

    Raises:
        ray.exceptions.RayError: a graph failed, or an executor died.
    """
    for block in graph.blocks(graphs[0]) if len(graphs) == 1 else _elsewhere(graphs):
        yield from unpacked(block)


class _Executor:
    """Runs a graph in a process of its own."""

    def run(self, dataset: Dataset) -> Iterator[pa.Table]:
        """As :func:`rayjob.run.graph.blocks`."""
        yield from graph.blocks(dataset)


def _elsewhere(graphs: Sequence[Dataset]) -> Iterator[pa.Table]:
    # Where the driver is: its to-do list may lie there, and an executor more than the driver lives
    # on is no use.
    executors = [cluster.beside_driver(_Executor) for _ in graphs]
    try:
        streams = [
            executor.run.options(
                num_returns="streaming", _generator_backpressure_num_objects=_WAITING_BLOCKS
            ).remote(dataset)
            for executor, dataset in zip(executors, graphs, strict=True)
        ]
        while streams:
            graph.check_stopped()
            ready: list[Any]
            ready, _ = ray.wait(streams, num_returns=1, timeout=_WAIT_SECONDS)
            for stream in ready:
                streams.remove(stream)
                if (block := next(stream, None)) is not None:
                    streams.append(stream)  # last, so that the others have their turn
                    yield ray.get(block)
    finally:
        # With each go its engines and decoders.
        for executor in executors:
            ray.kill(executor)
