"""A real cluster of several nodes: a submitted job, shared GPUs, nodes that die and join, S3."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient

from rayjob.output.store import TableStore
from tests.support.deployment.submitted import (
    IN_FLIGHT,
    held_job,
    submit,
    summary_in,
    until,
    upload,
)
from tests.support.outputs import ids_in
from tests.support.ray_nodes import RayCluster
from tests.support.recipes import GATE
from tinyworld.s3 import S3Gateway

pytestmark = pytest.mark.slow

ENGINES = 4
FREE = 12
# An engine is given two tasks more than it runs at once. Three engines must not be able to take
# all that is held back: Ray Data lets an engine go, also one that still starts, when nothing is
# left to give it.
HELD = (ENGINES - 1) * (IN_FLIGHT + 2) + 7

LOST = """
import ray; from actors.monitor import lost_nodes
ray.init()
here = ray.get_runtime_context().get_node_id()
print(len(lost_nodes()), here in {node["NodeID"] for node in ray.nodes() if node["Alive"]})
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def cluster(gateway: S3Gateway, gate: Path) -> Iterator[RayCluster]:
    """A head without resources, two CPU nodes, two nodes with one logical GPU each."""
    with RayCluster(env={GATE: str(gate)}) as cluster:
        for name in ("cpu-1", "cpu-2"):
            cluster.add(name, cpus=1)
        for name in ("gpu-1", "gpu-2"):
            cluster.add(name, cpus=2, gpus=1)
        yield cluster


class Watch(threading.Thread):
    """Samples which actors hold which share of which node's GPU."""

    def __init__(self, cluster: RayCluster) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._end = threading.Event()
        self.samples = 0
        self.most_on_a_node = 0.0
        self.most_engines = 0
        self.engines = 0

    def run(self) -> None:
        while not self._end.wait(0.5):
            shares: dict[str, float] = defaultdict(float)
            alive = self._cluster.actors()
            for actor in alive:
                shares[actor.node_id] += (actor.required_resources or {}).get("GPU", 0.0)
            self.samples += 1
            self.most_on_a_node = max([self.most_on_a_node, *shares.values()])
            self.engines = sum("Captioner" in actor.class_name for actor in alive)
            self.most_engines = max(self.most_engines, self.engines)

    def stop(self) -> None:
        self._end.set()
        self.join()


@pytest.mark.parametrize(
    ("entrypoint", "code"),
    [
        (("python", "-c", "print('all', 'well')"), 0),
        (("python", "-m", "rayjob.caption"), 2),
        (("python", "-c", "raise SystemExit(3)"), 3),
    ],
)
def test_the_submitter_ends_as_the_driver(
    cluster: RayCluster, entrypoint: tuple[str, ...], code: int
) -> None:
    process = submit(cluster, "--", *entrypoint)
    stdout, stderr = process.communicate(timeout=100)
    assert process.returncode == code, stderr
    if code == 0:
        assert stdout.strip().endswith("all well")


def test_a_stopped_job_is_no_success(cluster: RayCluster) -> None:
    process = submit(cluster, "--submission-id", "sleeper", "--", "sleep", "100")
    client = JobSubmissionClient(cluster.dashboard)
    until(lambda: any(job.submission_id == "sleeper" for job in client.list_jobs()), process, "it")
    client.stop_job("sleeper")
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 143, stderr
    assert "stopped" in stderr


def test_what_cannot_be_submitted_is_an_error_of_usage(tmp_path: Path) -> None:
    for options in (("--address", "http://127.0.0.1:9"), ("--runtime-env", str(tmp_path))):
        command = [sys.executable, "-m", "rayjob.submit", *options, "--", "true"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert done.returncode == 2, done.stderr
        assert "error:" in done.stderr


@pytest.fixture
def watch(cluster: RayCluster, gate: Path) -> Iterator[Watch]:
    gate.unlink(missing_ok=True)
    watch = Watch(cluster)
    watch.start()
    yield watch
    watch.stop()


@pytest.mark.timeout(400)
def test_a_pool_grows_while_its_engines_are_busy(
    cluster: RayCluster, gateway: S3Gateway, gate: Path, watch: Watch, tmp_path: Path
) -> None:
    names = [f"held-{n:02d}.mp4" for n in range(IN_FLIGHT + 2 + 5)]
    bucket = upload(gateway, tmp_path, names)
    options = held_job(bucket, "--engines", "2", "--set", "engine.min_engines=1")
    process = submit(cluster, *options, working_dir=".")
    try:
        until(lambda: watch.engines == 1, process, "an engine")
        until(lambda: watch.engines == 2, process, "a second one")
        gate.touch()
        stdout, stderr = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 0, stdout + stderr
    assert sorted(ids_in(TableStore(f"{bucket}/out"), "captions")) == names
    assert watch.most_engines == 2


@pytest.mark.timeout(500)
@pytest.mark.parametrize(
    ("executors", "lost", "cpus"), [(1, ("gpu-1", "cpu-1"), 3), (2, ("gpu-2",), 2)]
)
def test_nodes_die_and_join_during_a_job(
    cluster: RayCluster,
    gateway: S3Gateway,
    gate: Path,
    watch: Watch,
    tmp_path: Path,
    executors: int,
    lost: tuple[str, ...],
    cpus: int,
) -> None:
    names = [f"free-{n:02d}.mp4" for n in range(FREE)] + [f"held-{n:02d}.mp4" for n in range(HELD)]
    bucket = upload(gateway, tmp_path, names)
    output = TableStore(f"{bucket}/out")
    options = held_job(
        bucket,
        *("--engines", f"{ENGINES}", "--set", f"executors={executors}"),
        *("--set", "shards.seconds=0.5"),
    )
    process = submit(cluster, *options, working_dir=".")
    try:
        until(lambda: watch.engines == ENGINES, process, "four engines side by side")
        until(lambda: len(ids_in(output, "captions")) >= FREE // 2, process, "first captions")
        for name in lost:
            cluster.kill(name)
        cluster.add(f"new-{executors}", cpus=cpus, gpus=1)
        gate.touch()
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, stdout + stderr
    assert Counter(ids_in(output, "captions")) == Counter(names)
    assert ids_in(output, "failures") == []
    assert output.exists("runs/rehearsal/_SUCCESS")
    # The driver's lines came through while it ran.
    assert f"{len(names)} of {len(names)} videos done" in stdout
    summary = summary_in(stdout)
    assert summary["videos_captioned"] == len(names)
    # No video is blamed for an engine that went with its node: these are known.
    stdout, stderr = submit(cluster, "--", "python", "-c", LOST, working_dir=".").communicate()
    assert stdout.split()[-2:] == [f"{1 + executors}", "True"], stderr
    # Shares of a GPU were kept at every moment, and used.
    assert watch.samples > 20
    assert watch.most_engines == ENGINES
    assert watch.most_on_a_node == 1.0


@pytest.mark.timeout(500)
def test_a_lost_gpu_need_not_be_replaced(
    cluster: RayCluster, gateway: S3Gateway, gate: Path, watch: Watch, tmp_path: Path
) -> None:
    """After the tests above: a CPU node, and two with a GPU each."""
    names = [f"held-{n:02d}.mp4" for n in range(HELD)]
    bucket = upload(gateway, tmp_path, names)
    process = submit(cluster, *held_job(bucket, "--engines", f"{ENGINES}"), working_dir=".")
    try:
        until(lambda: watch.engines == ENGINES, process, "four engines side by side")
        cluster.kill("new-2")
        gate.touch()
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, stdout + stderr
    output = TableStore(f"{bucket}/out")
    assert sorted(ids_in(output, "captions")) == names
    assert ids_in(output, "failures") == []
    assert watch.most_on_a_node == 1.0
