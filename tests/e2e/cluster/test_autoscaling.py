"""A cluster that starts empty: the job's waiting actors make Ray's autoscaler start nodes.

Ray's own autoscaler runs, with its fake provider, which starts a node as processes of this
machine. Node types are those of cluster.yaml, with fewer cores.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.support import jobs
from tests.support.ray_nodes import free_port
from tests.support.services import HERMETIC_ENV
from tinyworld.render import write_video
from tinyworld.world import sample_scenes

pytestmark = pytest.mark.slow

HEAD = "ray.head.default"  # the fake provider knows the head by this name
NO_COMMANDS = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files",
    "rsync_exclude", "rsync_filter",
)  # fmt: skip


def autoscaling_config(address: str) -> dict[str, Any]:
    given = yaml.safe_load(Path("cluster.yaml").read_text())
    types = {HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}}
    for name in ("decode", "engine"):
        resources = given["available_node_types"][name]["resources"]
        types[name] = {
            "resources": resources | {"CPU": 2, "object_store_memory": 160 << 20},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 1,
        }
    return {
        "cluster_name": "fake",
        "max_workers": 2,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 100,
        "provider": {"type": "fake_multinode", "gcs_address": address},
        "head_node_type": HEAD,
        "available_node_types": types,
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "auth": {},
        "docker": {},
        **{name: [] for name in NO_COMMANDS},
    }


def processes(folder: str) -> list[psutil.Process]:
    """What belongs to the cluster: its folder stands in the command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(folder in word for word in words):
            found.append(process)
    return found


@dataclass(frozen=True)
class EmptyCluster:
    address: str
    folder: Path
    env: dict[str, str]

    def monitor_log(self) -> str:
        return (self.folder / "ray/session_latest/logs/monitor.log").read_text()


@pytest.fixture
def empty_cluster() -> Iterator[EmptyCluster]:
    """A head without resources, with the autoscaler."""
    # Short, as the paths of sockets must be.
    folder = tempfile.mkdtemp(prefix="rja-", dir="/tmp")
    address = f"127.0.0.1:{free_port()}"
    config = Path(folder, "cluster.json")
    config.write_text(json.dumps(autoscaling_config(address)))
    env = {**os.environ, **HERMETIC_ENV, "RAY_FAKE_CLUSTER": "1"}
    env |= {"AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    ray = str(Path(sys.executable).parent / "ray")
    command = [
        ray, "start", "--head", "--block", "--num-cpus=0", "--num-gpus=0",
        "--node-ip-address=127.0.0.1", "--include-dashboard=false",
        f"--object-store-memory={160 << 20}", f"--temp-dir={folder}/ray",
        f"--port={address.rpartition(':')[2]}", f"--autoscaling-config={config}",
        "--min-worker-port=0", "--max-worker-port=0", f"--ray-client-server-port={free_port()}",
    ]  # fmt: skip
    cluster = EmptyCluster(address=address, folder=Path(folder), env=env)
    try:
        with (cluster.folder / "head.log").open("w") as log:
            head = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while "To view the status" not in (text := (cluster.folder / "head.log").read_text()):
            assert head.poll() is None and time.monotonic() < deadline, text
            time.sleep(0.2)
        yield cluster
    finally:
        while left := processes(folder):
            for process in left:
                process.kill()
            psutil.wait_procs(left, timeout=5)


def test_the_job_brings_its_nodes(empty_cluster: EmptyCluster, tmp_path: Path) -> None:
    for number, scene in enumerate(sample_scenes(2, seed=51)):
        (tmp_path / "in").mkdir(exist_ok=True)
        write_video(tmp_path / f"in/{number}.mp4", [(scene, 2.0)])
    done = jobs.caption(
        *jobs.DEMO, "--input", tmp_path / "in", "--output", tmp_path / "out",
        "--set", "engine.engines=1", "--set", "engine.gpus_per_engine=1",
        "--set", "engine.autoscale=true", "--set", "decode.actors=2",
        "--set", "decode.node_resource=decode",
        env={**empty_cluster.env, "RAY_ADDRESS": empty_cluster.address},
    )  # fmt: skip
    assert done.code == 0, done.stderr + empty_cluster.monitor_log()[-3000:]
    assert set(jobs.captions(tmp_path / "out")) == {"0.mp4", "1.mp4"}
    # The head has no resources, so that every actor ran on a node that came for it.
    log = empty_cluster.monitor_log()
    assert "'GPU': 1.0}: 1+ pending" in log
    assert "Got 1 nodes to launch" in log
    assert "'decode': 1.0}: " in log
