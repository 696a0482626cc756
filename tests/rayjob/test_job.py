"""How the driver's loop hears of results."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

from actors.monitor import Snapshot
from rayjob import job
from schemas.config import EngineConfig
from schemas.errors import RayjobError


def test_tables_ticks_and_the_end_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_POLL_SECONDS", 0.05)
    empty, full = pa.table({}), pa.table({"a": [1]})

    def tables() -> Iterator[pa.Table]:
        yield full
        time.sleep(0.3)
        yield empty

    arrivals = list(job._arriving(tables()))
    assert [each for each in arrivals if isinstance(each, pa.Table)] == [full, empty]
    ticks = [number for number, each in enumerate(arrivals) if isinstance(each, job._Tick)]
    assert len(ticks) >= 3
    assert ticks[-1] == len(arrivals) - 1, "what the last table brought is looked at too"


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (Snapshot(received=50, deaths=4, deaths_in_a_row=4), None),
        (Snapshot(received=50, deaths=5, deaths_in_a_row=5, died_with="a.mp4"),
         r"5 engines died in a row \(engine\.max_deaths_in_a_row: 5\).* a\.mp4 in flight"),
        (Snapshot(received=100, deaths=10, deaths_in_a_row=1), None),
        (Snapshot(received=100, deaths=11, deaths_in_a_row=1, died_with="a.mp4"),
         r"11 engines died for 100 videos \(engine\.max_death_share: 0\.1\)"),
        (Snapshot(received=2, deaths=4, deaths_in_a_row=0), None),
    ],
)  # fmt: skip
def test_engines_that_die_again_and_again_end_the_run(
    snapshot: Snapshot, reason: str | None
) -> None:
    config = EngineConfig(max_deaths_in_a_row=5, max_death_share=0.1)
    if reason is None:
        job._check_deaths(snapshot, config)
        return
    with pytest.raises(RayjobError, match=reason):
        job._check_deaths(snapshot, config)


def test_an_error_of_the_graph_comes_out_of_the_loop() -> None:
    def tables() -> Iterator[pa.Table]:
        yield pa.table({"a": [1]})
        raise KeyboardInterrupt

    arrivals = job._arriving(tables())
    assert isinstance(next(arrivals), pa.Table)
    with pytest.raises(KeyboardInterrupt):
        next(arrivals)
