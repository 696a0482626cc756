"""A cluster that loses nodes which nobody replaces."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayjob.output.store import TableStore
from tests.support import jobs
from tests.support.outputs import ids_in
from tests.support.ray_nodes import RayCluster
from tests.support.recipes import GATE
from tests.support.submitted import held_job, submit, until, upload
from tinyworld.s3 import S3Gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FREE = 6

ON_A_NODE = """
import sys, ray
ray.init(address=sys.argv[1], _temp_dir=sys.argv[2])
sys.argv[:3] = ["rayjob"]
from rayjob.cli import main
main()
"""


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


def workers(cluster: RayCluster) -> int:
    return sum("MapWorker" in actor.class_name for actor in cluster.actors())


@pytest.mark.parametrize("room_sec", [5, 10_000])
def test_idle_actors_make_room_for_lost_ones(
    cluster: RayCluster, gate: Path, room_sec: int, tmp_path: Path
) -> None:
    """A decoder goes with its node; engines and the other decoder, which have nothing to do in the
    end, hold the CPUs that are left. As long as they do, the run stands still.
    """
    came = tmp_path / "rows"
    with open(came, "w") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.two_stages", f"{room_sec}", gate],
            cwd=jobs.ROOT, env={**cluster.env, "RAY_ADDRESS": cluster.address},
            stdout=stdout, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        until(lambda: workers(cluster) == 4, process, "two decoders, two engines")
        time.sleep(5)  # both decoders are given their first tasks
        cluster.kill("goes")
        until(lambda: workers(cluster) == 3, process, "the end of one")
        gate.touch()
        if room_sec < 100:
            assert process.wait(timeout=250) == 0
            assert "all" in came.read_text().splitlines()
            return
        seen = ""
        while seen != (seen := came.read_text()):
            time.sleep(40)
        assert process.poll() is None
        assert "all" not in seen.splitlines()
    finally:
        process.kill()


def test_a_driver_on_a_node_that_is_drained_and_taken(
    cluster: RayCluster, gateway: S3Gateway, gate: Path, tmp_path: Path
) -> None:
    """It ends with its node; what was captioned is kept, and the next start does the rest."""
    names = [f"free-{n}.mp4" for n in range(FREE)] + [f"held-{n}.mp4" for n in range(FREE)]
    bucket = upload(gateway, tmp_path, names)
    output = TableStore(f"{bucket}/out")
    job = held_job(bucket, "--engines", "1", "--set", "shards.seconds=0.5")
    where = [cluster.address, cluster.temp_dir("goes")]
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_NODE, *where, "caption", *job[job.index("--input") - 2 :]],
        cwd=jobs.ROOT, env=cluster.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        until(lambda: len(ids_in(output, "captions")) >= FREE // 2, process, "first captions")
        cluster.drain("goes")
        # Nothing is lost by the news, and what is free goes on elsewhere.
        until(lambda: len(ids_in(output, "captions")) == FREE, process, "all that is free")
        cluster.kill("goes")
        _, stderr = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 1, stderr
    assert "run the same command again to go on" in stderr
    gate.touch()
    process = submit(cluster, *job, working_dir=".")
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stdout + stderr
    assert f"{FREE} of {FREE} videos done" in stdout
    assert Counter(ids_in(output, "captions")) == Counter(names)
    assert ids_in(output, "failures") == []
