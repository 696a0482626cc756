"""Prometheus's own programs, and what the repository hands to it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from tests.support.jobs import ROOT

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
