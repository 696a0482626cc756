"""Counters of engines."""

from __future__ import annotations

import pickle
import time

import pytest

from actors.engine.stats import EngineStats, busy_fraction, mean_running
from actors.monitor import Monitor


def test_time_is_counted_by_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stats = EngineStats(_changed_at=now)
    for passes, change in ((10, +1), (2, +1), (3, -1), (5, -1), (20, 0)):
        now += passes
        stats.step(change)
    assert (stats.alive_sec, stats.busy_sec, stats.running_sec) == (40, 10, 13)
    assert (stats.running, stats.waiting) == (0, 0)
    other = EngineStats(alive_sec=60, busy_sec=40, running_sec=47)
    assert busy_fraction([stats, other]) == pytest.approx(0.5)
    assert mean_running([stats, other]) == pytest.approx(1.2)


def test_nothing_is_told_of_no_engine() -> None:
    assert busy_fraction([]) is None and mean_running([]) is None
    assert busy_fraction([EngineStats()]) is None and mean_running([EngineStats()]) is None


def test_the_latest_counters_of_each_engine_are_kept() -> None:
    monitor = Monitor(lost=set)
    for running in (3, 2):
        monitor.report("one", pickle.loads(pickle.dumps(EngineStats(running=running))))
    monitor.report("two", EngineStats(running=5, prompt_tokens=7, output_tokens=2))
    snapshot = monitor.snapshot()
    assert (len(snapshot.engines), snapshot.running, snapshot.tokens) == (2, 7, 9)
