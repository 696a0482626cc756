"""One executor or several: what each has, and how all of them end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pyarrow as pa
import pytest
import ray.data
import ray.exceptions
from ray.data import Dataset, TaskPoolStrategy

from actors.engine.loading import EngineSettings
from actors.storage.places import Places
from rayjob.capacity.pool import EnginePool
from rayjob.run import graph
from rayjob.run.arrivals import Tick, arriving
from rayjob.run.executors import Pools, results, shared_out
from rayjob.run.graph import DecodePool
from schemas.blocks import packed
from schemas.config import DecodeConfig
from schemas.media import StorageOptions
from tests.support.jobs import executors_of

ROWS = 200

several_graphs = pytest.mark.slow
"""Each graph starts workers of its own: up to a minute on two cores."""


def pools(engines: int, decoders: int | None, *, least: int | None = None) -> Pools:
    settings = EngineSettings(model="m", base_dir="/", revision=None, on_gpu=False, args={})
    return (
        EnginePool(
            replicas=engines,
            min_replicas=engines if least is None else least,
            cpus=1,
            gpus=0.5,
            settings=settings,
            videos_in_flight=80,
            follows_queue=False,
        ),
        decoders
        and DecodePool(
            actors=decoders,
            config=DecodeConfig(),
            storage=StorageOptions(),
            places=Places(folders=(), opened=()),
        ),
    )


def counts(shares: list[Pools]) -> list[tuple[int, int, int]]:
    return [
        (engines.min_replicas, engines.replicas, decoders.actors)
        for engines, decoders in shares
        if engines is not None and decoders is not None
    ]


@pytest.mark.parametrize(
    ("engines", "least", "decoders", "wanted", "expected"),
    [
        (5, 5, 7, 2, [(3, 3, 4), (2, 2, 3)]),
        # A pool that grows has a part of both bounds.
        (4, 3, 2, 2, [(2, 2, 1), (1, 2, 1)]),
        (5, 4, 9, 3, [(2, 2, 3), (1, 2, 3), (1, 1, 3)]),
        # Each has an engine that is always there, and a decoder.
        (8, 2, 16, 4, [(1, 4, 8), (1, 4, 8)]),
        (8, 8, 1, 4, [(8, 8, 1)]),
        # Nobody says how many.
        (64, 64, 9, None, [(64, 64, 9)]),
        (130, 129, 9, None, [(129, 130, 9)]),
        (130, 130, 9, None, [(44, 44, 3), (43, 43, 3), (43, 43, 3)]),
    ],
)
def test_executors_share_out_engines_and_decoders(
    engines: int,
    least: int,
    decoders: int,
    wanted: int | None,
    expected: list[tuple[int, int, int]],
) -> None:
    shares = shared_out(pools(engines, decoders, least=least), wanted, videos=1000)
    assert counts(shares) == expected
    assert all(low <= most for low, most, _ in expected)


def test_runs_without_decoders_or_engines_have_executors_too() -> None:
    engines, decoders = pools(4, 6)
    texts = shared_out((engines, None), 2, videos=1000)
    assert [each and each.replicas for each, _ in texts] == [2, 2]
    assert [other for _, other in texts] == [None, None]
    cuts = shared_out((None, decoders), 2, videos=1000)
    assert [each and each.actors for _, each in cuts] == [3, 3]
    assert len(shared_out((None, decoders), None, videos=1000)) == 1
    assert len(shared_out((engines, decoders), 4, videos=3)) == 3


def numbers(*, first: int, pause: float = 0.0, poison: int = -1) -> Dataset:
    """A graph of rows that hold a number each."""

    def row(batch: dict[str, Any]) -> pa.Table:
        time.sleep(pause)
        number = first + int(batch["id"][0])
        if number == poison:
            raise ValueError("the graph is broken")
        return packed(pa.table({"number": [number]}))

    graph._configure(pool_grows_at=1.0)
    # Tasks without a CPU have no other bound, and each that waits has Ray start a worker for it.
    return ray.data.range(ROWS, override_num_blocks=ROWS).map_batches(
        row, batch_size=1, num_cpus=0, compute=TaskPoolStrategy(size=2)
    )


def found(tables: Iterator[pa.Table]) -> list[int]:
    return [number for table in tables for number in table["number"].to_pylist()]


@several_graphs
@pytest.mark.parametrize("count", [1, 2, 3])
def test_all_rows_of_all_executors_arrive_once(local_ray: None, count: int) -> None:
    graphs = [numbers(first=ROWS * part) for part in range(count)]
    assert sorted(found(results(graphs))) == list(range(ROWS * count))


@several_graphs
def test_an_error_in_one_graph_ends_all(local_ray: None) -> None:
    graphs = [numbers(first=0, pause=0.1), numbers(first=ROWS, poison=ROWS + 3)]
    with pytest.raises(ray.exceptions.RayError, match="the graph is broken"):
        found(results(graphs))


@several_graphs
def test_an_executor_that_is_killed_is_no_end_of_its_graph(local_ray: None) -> None:
    graphs = [numbers(first=ROWS * part, pause=0.1) for part in range(2)]
    tables = results(graphs)
    next(tables)
    first, second = executors_of(psutil.Process())
    first.kill()
    with pytest.raises(ray.exceptions.ActorDiedError):
        found(tables)
    # The other one has gone too, so that nothing works on what nobody takes.
    second.wait(timeout=30)


@several_graphs
def test_executors_end_with_the_loop_over_them(local_ray: None) -> None:
    graphs = [numbers(first=0, pause=0.1), numbers(first=0, pause=0.1)]
    with contextlib.closing(arriving(results(graphs))) as arrivals:
        while isinstance(next(arrivals), Tick):
            pass
        processes = executors_of(psutil.Process())
        assert len(processes) == 2
    psutil.wait_procs(processes, timeout=30)
    assert not any(each.is_running() for each in processes)
