"""A real Ray cluster on this machine: every node a set of processes of its own.

Each cluster has its own folder and ports, so that it neither finds nor is found by any
other Ray on the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import psutil
from ray.util.state import list_actors, list_nodes
from ray.util.state.common import ActorState

from tests.support.services import HERMETIC_ENV

_OBJECT_STORE_BYTES = 160 << 20


class RayCluster:
    """Context manager: a head node, and what :meth:`add` adds.

    A child process of its own starts and kills the nodes, as Ray keeps what it knows about
    a cluster in global variables.

    Args:
        cpus: logical CPUs of the head.
        env: environment of all nodes, and so of drivers and workers.

    Attributes:
        address: what ``RAY_ADDRESS`` is for a driver on this machine.
        dashboard: URL of the dashboard, which takes jobs.
    """

    def __init__(self, *, cpus: int = 0, env: Mapping[str, str] | None = None) -> None:
        self._cpus = cpus
        # Short, as the paths of sockets must be.
        self._folder = tempfile.mkdtemp(prefix="rj-", dir="/tmp")
        # `python` of a submitted command is the interpreter that runs the tests.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.env = {**os.environ, **HERMETIC_ENV, **(env or {})}
        self.env |= {"PATH": path, "RAY_TMPDIR": self._folder}
        self._metrics: dict[str, int] = {}
        self._runner: subprocess.Popen[str] | None = None
        self.address = f"127.0.0.1:{free_port()}"
        self.dashboard = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        with open(Path(self._folder) / "runner.log", "w") as log:
            self._runner = subprocess.Popen(
                [sys.executable, "-m", "tests.support.ray_nodes"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=Path(__file__).parents[2],
                env=self.env,
            )
        try:
            self._add(
                "head",
                num_cpus=self._cpus,
                gcs_server_port=int(self.address.rpartition(":")[2]),
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                dashboard_port=int(self.dashboard.rpartition(":")[2]),
            )
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def add(self, name: str, *, cpus: int, gpus: int = 0) -> None:
        """Start a node with so many logical CPUs and GPUs, and wait for it."""
        # In one folder for all, each node would unpack a job's working directory over the others'.
        self._add(name, num_cpus=cpus, num_gpus=gpus, temp_dir=self.temp_dir(name))

    def kill(self, name: str) -> None:
        """End all processes of a node at once, as a machine that loses its power."""
        del self._metrics[name]
        self._ask({"kill": name})

    def drain(self, name: str) -> None:
        """Tell Ray that a node will be taken away, as a launcher does for a spot instance."""
        (node,) = list_nodes(
            address=self.dashboard,
            filters=[("node_name", "=", name)],
            # Ray takes nodes that the filter leaves out for missing ones.
            raise_on_missing_output=False,
        )
        command = [Path(sys.executable).with_name("ray"), "drain-node", "--address", self.address]
        command += ["--node-id", node.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
        command += ["--reason-message", "taken away", "--deadline-remaining-seconds", "60"]
        subprocess.run(command, env=self.env, check=True, capture_output=True)

    def temp_dir(self, name: str) -> str:
        """The folder by which a driver tells the node from others of this machine."""
        return f"{self._folder}/{name}"

    def stop(self) -> None:
        """End all nodes."""
        if self._runner is not None:
            assert self._runner.stdin is not None
            self._runner.stdin.close()
            self._runner.wait(timeout=60)
            self._runner = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def actors(self) -> list[ActorState]:
        """All actors that have started and are not dead, as Ray's state API describes them."""
        found: list[ActorState] = list_actors(
            address=self.dashboard, filters=[("state", "=", "ALIVE")], detail=True, limit=1000
        )
        return found

    def processes(self) -> list[psutil.Process]:
        """All processes of the cluster's nodes."""
        assert self._runner is not None
        found: list[psutil.Process] = psutil.Process(self._runner.pid).children(recursive=True)
        return found

    def ports(self) -> list[int]:
        """All TCP ports on which the cluster's processes listen."""
        found = {
            each.laddr.port
            for process in self.processes()
            for each in process.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
        }
        return sorted(found)

    @property
    def metrics_targets(self) -> list[str]:
        """HOST:PORT of the metrics of each node that is alive."""
        return [f"127.0.0.1:{port}" for port in self._metrics.values()]

    def metrics(self) -> str:
        """What Prometheus would scrape from all nodes that are alive."""
        pages = []
        for target in self.metrics_targets:
            url = f"http://{target}/metrics"
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as page:
                pages.append(page.read().decode())
        return "\n".join(pages)

    def _add(self, name: str, **options: Any) -> None:
        port = free_port()
        options |= {"metrics_export_port": port, "node_name": name}
        options |= {"dashboard_agent_listen_port": free_port()}  # the default is one for all
        options |= {"object_store_memory": _OBJECT_STORE_BYTES, "node_ip_address": "127.0.0.1"}
        self._ask({"add": name, "options": options})
        self._metrics[name] = port

    def _ask(self, request: dict[str, Any]) -> None:
        assert self._runner is not None and self._runner.stdin and self._runner.stdout
        self._runner.stdin.write(json.dumps(request) + "\n")
        self._runner.stdin.flush()
        if self._runner.stdout.readline().strip() != "done":
            log = (Path(self._folder) / "runner.log").read_text()[-3000:]
            raise RuntimeError(f"{request} failed:\n{log}")


def _serve() -> None:
    """The child process: start and kill nodes as its standard input says, until it ends."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster()
    nodes = dict[str, Any]()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray prints is no answer
    try:
        for line in sys.stdin:
            request = json.loads(line)
            if "add" in request:
                nodes[request["add"]] = cluster.add_node(**request["options"])
            else:
                cluster.remove_node(nodes.pop(request["kill"]), allow_graceful=False)
            print("done", file=answers, flush=True)
    finally:
        cluster.shutdown()


def samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of every sample of a Prometheus page."""
    for line in page.splitlines():
        match = re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line)
        if match:
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            yield match[1], labels, float(match[3])


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


if __name__ == "__main__":
    _serve()
