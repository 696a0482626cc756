"""A cluster that loses nodes which nobody replaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rayjob.output.store import TableStore
from tests.support.outputs import ids_in
from tests.support.ray_nodes import RayCluster
from tests.support.recipes import GATE
from tests.support.submitted import held_job, submit, until, upload
from tinyworld.s3 import S3Gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

VIDEOS = 30


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "open"


@pytest.fixture
def cluster(gate: Path) -> Iterator[RayCluster]:
    """Two workers, all of whose CPUs the actors of :func:`job` hold."""
    with RayCluster(env={GATE: str(gate)}) as cluster:
        cluster.add("stays", cpus=3, gpus=1)
        cluster.add("goes", cpus=1)
        yield cluster


def test_idle_actors_make_room_for_lost_ones(
    cluster: RayCluster, gateway: S3Gateway, gate: Path, tmp_path: Path
) -> None:
    """A decoder goes with its node, and what it has decoded; engines and the other decoder hold
    the CPUs that are left.
    """
    names = [f"held-{n:02d}.mp4" for n in range(VIDEOS)]
    bucket = upload(gateway, tmp_path, names)
    options = ["--engines", "2", "--set", "decode.actors=2"]
    process = submit(cluster, *held_job(bucket, *options), working_dir=".")

    def actors() -> int:
        return sum("MapWorker" in actor.class_name for actor in cluster.actors())

    try:
        until(lambda: actors() == 4, process, "two engines, two decoders")
        cluster.kill("goes")
        gate.touch()
        stdout, stderr = process.communicate(timeout=350)
    finally:
        process.kill()
    assert process.returncode == 0, stdout + stderr
    output = TableStore(f"{bucket}/out")
    assert sorted(ids_in(output, "captions")) == names
    assert ids_in(output, "failures") == []
