"""Prometheus's own programs, and what the repository hands to it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from tests.support.jobs import ROOT
from tests.support.ray_nodes import free_port

ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/rayjob.json"
UNAVAILABLE = 77


def program(name: str) -> str:
    """Path of `prometheus` or `promtool`; the test is not run where there is none."""
    command = [sys.executable, "tools/debian.py", name, "prometheus"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    if done.returncode == UNAVAILABLE:
        pytest.skip(f"not run: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def dashboard_queries() -> list[str]:
    """Queries of the Grafana dashboard, for all recipes."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [query.replace("$recipe", ".*") for query in found]


def alerts() -> dict[str, str]:
    """Name and condition of each alert."""
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


class Prometheus:
    """Context manager: a server that scrapes nodes every second, and knows the alerts.

    Args:
        targets: HOST:PORT of each node's metrics.
        folder: for its settings and its data.
    """

    def __init__(self, targets: Sequence[str], folder: Path) -> None:
        self._command = [program("prometheus"), f"--config.file={folder}/prometheus.yaml"]
        self._command += [f"--storage.tsdb.path={folder}/data"]
        self._url = f"127.0.0.1:{free_port()}"
        self._command += [f"--web.listen-address={self._url}"]
        self._log = folder / "prometheus.log"
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [{"job_name": "ray", "static_configs": [{"targets": [*targets]}]}],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))

    def __enter__(self) -> Self:
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._is_ready():
            assert self._process.poll() is None and time.monotonic() < deadline, (
                self._log.read_text()
            )
            time.sleep(0.2)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"http://{self._url}/-/ready").is_success
        except httpx.TransportError:
            return False

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The samples that a query gives now.

        Raises:
            httpx.HTTPStatusError: it is no query.
        """
        url = f"http://{self._url}/api/v1/query"
        answer = httpx.get(url, params={"query": query}).raise_for_status().json()
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def total(self, series: str) -> float:
        """What a counter had counted at last, summed over its labels; 0 where there is none."""
        found = self.ask(f"sum(max_over_time({series}[1h]))")
        return float(found[0]["value"][1]) if found else 0.0
