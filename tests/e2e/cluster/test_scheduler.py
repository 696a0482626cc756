"""What a scheduler does to a driver: it is told to end, or its node is drained and taken."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayjob.output.store import TableStore
from tests.support import jobs
from tests.support.deployment.submitted import IN_FLIGHT, held_job, submit, until, upload
from tests.support.outputs import ids_in
from tests.support.ray_nodes import RayCluster
from tests.support.recipes import GATE
from tinyworld.s3 import S3Gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FREE = 6
# They must not fill the engine, or what is free waits behind them.
HELD = IN_FLIGHT - 1
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
    """The driver runs on the node that goes; the other one can hold all actors."""
    with RayCluster(env={GATE: str(gate)}) as cluster:
        cluster.add("stays", cpus=3, gpus=1)
        cluster.add("goes", cpus=1)
        yield cluster


@pytest.mark.parametrize("end", ["terminated", "drained"])
def test_what_was_captioned_is_kept_and_the_next_start_goes_on(
    cluster: RayCluster, gateway: S3Gateway, gate: Path, end: str, tmp_path: Path
) -> None:
    names = [f"free-{n}.mp4" for n in range(FREE)] + [f"held-{n}.mp4" for n in range(HELD)]
    bucket = upload(gateway, tmp_path, names)
    output = TableStore(f"{bucket}/out")
    job = held_job(bucket, "--engines", "1", "--set", "shards.seconds=0.5")
    start = ["-m", "rayjob"]
    if end == "drained":
        start = ["-c", ON_A_NODE, cluster.address, cluster.temp_dir("goes")]
    process = subprocess.Popen(
        [sys.executable, *start, "caption", *job[job.index("--input") - 2 :]],
        cwd=jobs.ROOT, env={**cluster.env, "RAY_ADDRESS": cluster.address},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        until(lambda: len(ids_in(output, "captions")) >= FREE // 2, process, "first captions")
        if end == "drained":
            cluster.drain("goes")
        # Nothing is lost by the news, and what is free goes on elsewhere.
        until(lambda: len(ids_in(output, "captions")) == FREE, process, "all that is free")
        if end == "drained":
            cluster.kill("goes")
        else:
            process.terminate()
        _, stderr = process.communicate(timeout=200)
    finally:
        process.kill()
    if end == "drained":
        assert process.returncode == 1, stderr
        assert "run the same command again to go on" in stderr
    else:
        assert process.returncode == 143, stderr
    gate.touch()
    process = submit(cluster, *job, working_dir=".")
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stdout + stderr
    assert f"{HELD} of {HELD} videos done" in stdout
    assert Counter(ids_in(output, "captions")) == Counter(names)
    assert ids_in(output, "failures") == []
