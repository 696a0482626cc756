"""A run on three nodes as Prometheus sees it, by the dashboard's queries and the alerts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.deployment import watching
from tests.support.deployment.submitted import held_job, submit, summary_in, upload
from tests.support.ray_nodes import RayCluster
from tests.support.recipes import GATE
from tinyworld.s3 import S3Gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_run_on_three_nodes(gateway: S3Gateway, tmp_path: Path) -> None:
    """Every query gives a result while it runs; at its end the figures are those of the summary,
    and a node that dies is told.
    """
    gate = tmp_path / "open"
    names = [f"free-{n}.mp4" for n in range(6)] + [f"held-{n}.mp4" for n in range(3)]
    with RayCluster(env={GATE: str(gate)}) as cluster:
        cluster.add("cpu", cpus=1)
        cluster.add("gpu", cpus=1, gpus=1)
        with watching.Prometheus(cluster.metrics_targets, tmp_path) as prometheus:
            bucket = upload(gateway, tmp_path, names)
            location, key = bucket.removeprefix("s3://"), "in/text.mp4"
            gateway.client().put_object(Bucket=location, Key=key, Body=b"no video")
            process = submit(cluster, *held_job(bucket, "--engines", "1"), working_dir=".")
            try:
                # A cause of idle time need not be there.
                missing = {q for q in watching.dashboard_queries() if "and on()" not in q}
                assert len(missing) > 15
                deadline = time.monotonic() + 500
                while missing:
                    assert process.poll() is None, process.communicate()
                    assert time.monotonic() < deadline, missing
                    time.sleep(1)
                    missing = {query for query in missing if not prometheus.ask(query)}
                cluster.kill("cpu")
                while not prometheus.ask('ALERTS{alertname="NodeLost"}'):
                    assert time.monotonic() < deadline + 60
                    time.sleep(1)
                gate.touch()
                stdout, stderr = process.communicate(timeout=300)
            finally:
                process.kill()
            assert process.returncode == 0, stdout + stderr
            # What `ray job logs` shows.
            assert " 1 engine, " in stdout and " tokens/s" in stdout
            assert "WARNING" not in stdout
            summary = summary_in(stdout)
            assert (summary["videos_captioned"], summary["videos_failed"]) == (len(names), 1)
            queries = {
                'ray_rayjob_videos_total{outcome="captioned"}': summary["videos_captioned"],
                'ray_rayjob_videos_total{outcome="failed"}': summary["videos_failed"],
                "ray_rayjob_captions_total": summary["captions"],
                "ray_rayjob_prompt_tokens_total": summary["prompt_tokens"],
                "ray_rayjob_output_tokens_total": summary["output_tokens"],
            }
            for error, count in summary["failures_by_error"].items():
                queries[f'ray_rayjob_failures_total{{error="{error}"}}'] = count
            # Workers hand over what is left when they end.
            deadline = time.monotonic() + 30
            while (found := {query: prometheus.total(query) for query in queries}) != queries:
                assert time.monotonic() < deadline, (found, queries)
                time.sleep(1)
