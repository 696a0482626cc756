"""A cluster that loses nodes which nobody replaces."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import jobs
from tests.support.deployment.submitted import until
from tests.support.ray_nodes import RayCluster
from tests.support.recipes import GATE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "open"


@pytest.fixture
def cluster(gate: Path) -> Iterator[RayCluster]:
    """A worker, all of whose CPUs the decoders hold."""
    with RayCluster(env={GATE: str(gate)}) as cluster:
        cluster.add("goes", cpus=2)
        yield cluster


def workers(cluster: RayCluster) -> int:
    return sum("MapWorker" in actor.class_name for actor in cluster.actors())


@pytest.mark.parametrize("room_sec", [5, 10_000])
def test_idle_actors_make_room_for_lost_ones(
    cluster: RayCluster, gate: Path, room_sec: int, tmp_path: Path
) -> None:
    """The decoders go with their node; engines, which have nothing to do, hold the CPUs that are
    left. As long as they do, the run stands still.
    """
    came = tmp_path / "rows"
    with open(came, "w") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.deployment.two_stages", f"{room_sec}", gate],
            cwd=jobs.ROOT, env={**cluster.env, "RAY_ADDRESS": cluster.address},
            stdout=stdout, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        until(lambda: workers(cluster) == 2, process, "two decoders")
        cluster.add("stays", cpus=2, gpus=1)
        until(lambda: workers(cluster) == 4, process, "two engines")
        time.sleep(5)  # both decoders are given their first tasks
        cluster.kill("goes")
        until(lambda: workers(cluster) == 2, process, "the end of two")
        gate.touch()
        if room_sec < 100:
            assert process.wait(timeout=250) == 0
            assert "all" in came.read_text().splitlines()
            return
        time.sleep(60)  # more than all rows take
        assert process.poll() is None
        assert "row" not in came.read_text()
    finally:
        process.kill()
