"""Alert rules and the dashboard's queries, by Prometheus's own parser and evaluator."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.deployment import watching


@pytest.fixture(scope="module")
def promtool() -> str:
    return watching.program("promtool")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_alert_comes_when_it_should_and_not_else(promtool: str, tmp_path: Path) -> None:
    run(promtool, "check", "rules", watching.ALERTS)
    cases = watching.ALERTS.with_name("alerts_test.yaml")
    run(promtool, "test", "rules", cases)
    provoked = {
        case["alertname"]
        for test in yaml.safe_load(cases.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert provoked == watching.alerts().keys()
    # The cases do tell rules apart: a threshold of another value breaks them.
    shutil.copy(cases, tmp_path)
    changed = watching.ALERTS.read_text().replace("< 0.5", "< 0.2")
    (tmp_path / watching.ALERTS.name).write_text(changed)
    done = subprocess.run([promtool, "test", "rules", tmp_path / cases.name], capture_output=True)
    assert done.returncode != 0


def test_prometheus_understands_every_query_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    queries = watching.dashboard_queries()
    assert len(queries) > 15
    rules = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(queries)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(queries)} rules found" in run(promtool, "check", "rules", path)
