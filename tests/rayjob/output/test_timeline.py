"""How a run went over time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from actors.engine.stats import EngineStats
from actors.monitor import Snapshot
from rayjob.counts import Counts
from rayjob.output.layout import run_folder
from rayjob.output.store import TableStore
from rayjob.output.timeline import MAX_POINTS, Timeline, read_timeline


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(timeline: Timeline, captioned: int, *, running: int = 1) -> None:
    timeline.record(
        Counts(videos_captioned=captioned, output_tokens=10 * captioned),
        Snapshot(received=captioned, engines=(EngineStats(running=running),)),
    )


def test_is_thinned_and_keeps_the_end(tmp_path: Path) -> None:
    store, clock = TableStore(tmp_path), Clock()
    timeline = Timeline(store, "r1", clock=clock)
    for number in range(20_000):
        clock.now += 1
        record(timeline, number)
    timeline.close()
    points = read_timeline(store, "r1")
    assert 100 < len(points) <= MAX_POINTS + 1
    assert points[0].at == 1001
    assert points[-1].captioned == 19_999
    assert points[-1].at == clock.now
    assert [point.captioned for point in points] == sorted(point.captioned for point in points)
    gaps = [later.at - sooner.at for sooner, later in pairwise(points)]
    assert max(gaps) <= 100, "no part of the run is left out"


def test_is_written_while_the_run_goes_on(tmp_path: Path) -> None:
    store, clock = TableStore(tmp_path), Clock()
    timeline = Timeline(store, "r1", clock=clock)
    record(timeline, 1)
    assert read_timeline(store, "r1") == []
    clock.now += 61
    record(timeline, 2)
    assert [point.captioned for point in read_timeline(store, "r1")] == [1, 2]


def test_a_run_that_goes_on_adds_to_what_it_had(tmp_path: Path) -> None:
    store, clock = TableStore(tmp_path), Clock()
    first = Timeline(store, "r1", clock=clock)
    record(first, 5)
    first.close()
    clock.now += 100
    second = Timeline(store, "r1", clock=clock)
    record(second, 3)
    second.close()
    points = read_timeline(store, "r1")
    assert [point.captioned for point in points] == [5, 8]
    assert points[-1].output_tokens == 80


def test_a_damaged_one_is_left_out(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    store.write_bytes(f"{run_folder('r1')}/timeline.jsonl", b'{"at": 1')
    assert read_timeline(store, "r1") == []


def test_without_a_record_nothing_is_written(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    Timeline(store, "r1").close()
    assert list(store.list("runs")) == []
