"""How the driver's loop hears of results."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

from rayjob import job


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


def test_an_error_of_the_graph_comes_out_of_the_loop() -> None:
    def tables() -> Iterator[pa.Table]:
        yield pa.table({"a": [1]})
        raise KeyboardInterrupt

    arrivals = job._arriving(tables())
    assert isinstance(next(arrivals), pa.Table)
    with pytest.raises(KeyboardInterrupt):
        next(arrivals)
