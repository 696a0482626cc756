"""Nights on one cluster: what is new, changed and gone; an overlap; a crash; the metrics."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rayjob.output.store import TableStore
from tests.support import jobs
from tests.support.deployment import watching
from tests.support.outputs import ids_in
from tests.support.ray_nodes import RayCluster, samples
from tests.support.recipes import GATE
from tinyworld.render import write_video
from tinyworld.world import sample_scenes

pytestmark = pytest.mark.slow

EXPORT_SECONDS = 12
"""Workers hand their metrics to the node's agent every ten seconds."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nights")
    (folder / "in").mkdir()
    return folder


@pytest.fixture(scope="module")
def cluster(work: Path) -> Iterator[RayCluster]:
    with RayCluster(cpus=2, env={GATE: str(work / "gate")}) as cluster:
        yield cluster


class Scraper(threading.Thread):
    """Reads the metrics as Prometheus would; keeps every name, and the largest values."""

    def __init__(self, cluster: RayCluster) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._end = threading.Event()
        self.names: dict[str, set[str]] = {}
        self.largest: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()

    def run(self) -> None:
        while not self._end.wait(2):
            self.scrape()

    def scrape(self) -> None:
        for name, labels, value in samples(self._cluster.metrics()):
            self.names.setdefault(name, set()).update(labels)
            key = (name, frozenset(labels.items()))
            self.largest[key] = max(self.largest[key], value)  # type: ignore[assignment]

    def stop(self) -> None:
        self._end.set()
        self.join()
        self.scrape()

    def total(self, name: str, **labels: str) -> float:
        """Sum over all workers."""
        return sum(
            value
            for (each, has), value in self.largest.items()
            if each == name and labels.items() <= dict(has).items()
        )


class Nights:
    """The folder of videos, its output, and the command."""

    def __init__(self, work: Path, cluster: RayCluster) -> None:
        self.work = work
        self.store = TableStore(work / "out")
        self._env = {**os.environ, "RAY_ADDRESS": cluster.address, GATE: str(work / "gate")}
        self._scenes = iter(sample_scenes(40, seed=17))

    def put(self, *names: str) -> None:
        """Write clips, each with a content of its own, new or in place of another."""
        for name in names:
            write_video(self.work / "in" / name, [(next(self._scenes), 2.0)])

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "rayjob.nightly", *jobs.DEMO]
        command += ["--recipe", "tests.support.recipes:Held", "--set", "shards.seconds=0.2"]
        # So few that each is a task of its own, and a held one holds no other back.
        command += ["--set", "engine.videos_in_flight=5"]
        command += ["--input", str(self.work / "in"), "--output", self.store.root]
        return subprocess.Popen(
            command, cwd=jobs.ROOT, env=self._env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def night(self) -> dict[str, Any]:
        """One night from start to end: its summary."""
        process = self.start()
        stdout, stderr = process.communicate(timeout=200)
        assert process.returncode == 0, stderr
        summary: dict[str, Any] = json.loads(stdout.splitlines()[-1])
        return summary

    def report(self, run_id: str) -> list[str]:
        return self.store.read_bytes(f"runs/{run_id}/night.md").decode().splitlines()

    def rows(self) -> dict[str, tuple[str, str]]:
        """video_id -> (run, caption); every key once."""
        rows = jobs.read(Path(self.store.root), "captions")
        told = {row["video_id"]: (row["run_id"], row["caption"]) for row in rows}
        assert len(told) == len(rows), "a key stands twice"
        return told


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 250
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def nights(work: Path, cluster: RayCluster) -> Nights:
    return Nights(work, cluster)


@pytest.fixture(scope="module")
def first(nights: Nights, cluster: RayCluster) -> tuple[dict[str, Any], Scraper]:
    """The first night, in which everything is new and one file is no video, and its metrics."""
    nights.put("a.mp4", "b.mp4", "c.mp4", "gone.mp4")
    (nights.work / "in/text.mp4").write_text("no video")
    scraper = Scraper(cluster)
    scraper.start()
    summary = nights.night()
    time.sleep(EXPORT_SECONDS)
    scraper.stop()
    return summary, scraper


def test_the_metrics_agree_with_the_summary(first: tuple[dict[str, Any], Scraper]) -> None:
    summary, metrics = first
    total = metrics.total
    assert total("ray_rayjob_videos_total", outcome="captioned") == summary["videos_captioned"]
    assert total("ray_rayjob_videos_total", outcome="failed") == summary["videos_failed"]
    assert total("ray_rayjob_captions_total", recipe="held", status="ok") == summary["captions"]
    for error, count in summary["failures_by_error"].items():
        assert total("ray_rayjob_failures_total", stage="open", error=error) == count
    assert total("ray_rayjob_prompt_tokens_total") == summary["prompt_tokens"] > 0
    assert total("ray_rayjob_output_tokens_total") == summary["output_tokens"] > 0
    hours = total("ray_rayjob_video_seconds_total") / summary["wall_sec"]
    assert hours == pytest.approx(summary["video_hours_per_hour"])
    assert total("ray_rayjob_decoded_videos_total", outcome="decoded") == 4
    assert total("ray_rayjob_decode_seconds_total") > 0
    assert total("ray_rayjob_bytes_read_total") > 10_000
    after_start = summary["wall_sec"] - summary["startup_sec"]
    assert 0 < total("ray_rayjob_engine_busy_seconds_total") <= after_start
    assert total("ray_rayjob_engine_capacity") == 64


def test_dashboard_and_alerts_name_what_exists(first: tuple[dict[str, Any], Scraper]) -> None:
    _, metrics = first
    queries = [*watching.dashboard_queries(), *watching.alerts().values()]
    assert len(queries) > 15
    for query in queries:
        named = re.findall(r"\b(ray_\w+)(?:\{([^}]*)\})?", query)
        assert named, query
        for series, selector in named:
            if series == "ray_node_failure_total":
                continue  # begins with the first node that is lost
            assert series in metrics.names, query
            labels = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selector))
            assert labels <= metrics.names[series], query
        kept = {
            name.strip() for by in re.findall(r"by \(([^)]*)\)", query) for name in by.split(",")
        }
        assert all(kept <= metrics.names[series] for series, _ in named if kept), query


@pytest.mark.timeout(600)
def test_three_nights(nights: Nights, first: tuple[dict[str, Any], Scraper]) -> None:
    # The first night: everything is new.
    summary = first[0]
    assert re.fullmatch(r"nightly-\d{8}", summary["run_id"])
    assert (summary["videos_captioned"], summary["videos_failed"]) == (4, 1)
    before = nights.rows()
    assert before.keys() == {"a.mp4", "b.mp4", "c.mp4", "gone.mp4"}

    # The second: two new ones, one changed, one gone. It is killed half way.
    nights.put("d.mp4", "held-e.mp4", "b.mp4")
    (nights.work / "in/gone.mp4").unlink()
    crashed = nights.start()
    try:
        until(lambda: len(ids_in(nights.store, "captions")) >= 6, crashed)
        # A start meanwhile is refused, at once and with a code of its own.
        late = nights.start()
        _, stderr = late.communicate(timeout=60)
        assert late.returncode == 4, stderr
        assert "is in use by run nightly-" in stderr
    finally:
        crashed.send_signal(signal.SIGKILL)
        crashed.communicate()

    # The third: one more changed, one more new, and what the crash left.
    (nights.work / "gate").touch()
    nights.put("c.mp4", "f.mp4")
    third = nights.night()
    assert third["run_id"] == f"{summary['run_id']}-2", "the crashed night goes on under its id"
    taken = {name for name, (run, _) in nights.rows().items() if run == third["run_id"]}
    assert taken == {"b.mp4", "c.mp4", "d.mp4", "held-e.mp4", "f.mp4"}
    # d and the changed b were done before the crash, and not again after it.
    assert (third["videos_captioned"], third["videos_skipped"]) == (3, 4)
    assert (third["videos_changed"], third["videos_gone"]) == (1, 1)
    after = nights.rows()
    assert after.keys() == {"a.mp4", "gone.mp4", *taken}
    assert after["a.mp4"] == before["a.mp4"] and after["gone.mp4"] == before["gone.mp4"]
    assert ids_in(nights.store, "failures") == ["text.mp4"]
    page = nights.report(third["run_id"])
    for line in ("| new | 2 |", "| changed, taken again | 1 |", "| captioned | 3 |"):
        assert line in page
    assert "| gone: in the tables, not in the inputs any more | 1 |" in page

    # Nothing happened since: a night that takes nothing, and starts no engine.
    fourth = nights.night()
    assert (fourth["run_id"], fourth["videos_skipped"]) == (f"{summary['run_id']}-3", 7)
    assert fourth["videos_captioned"] == fourth["videos_changed"] == 0
