"""How the driver's loop hears of results."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest

from actors.engine.stats import EngineStats
from actors.monitor import Snapshot
from rayjob.ids import Earlier
from rayjob.inputs.manifests import Input
from rayjob.inputs.todo import write_todo
from rayjob.output.store import TableStore
from rayjob.run import job
from schemas.errors import LockLostError, ModelError, RayjobError, UsageError
from tests.support.outputs import Unlocked


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


@pytest.mark.parametrize("held", [True, False])
def test_the_to_do_list_goes_however_a_run_ends(tmp_path: Path, held: bool) -> None:
    """But that of the run that took the output over stays."""
    store = TableStore(tmp_path)
    lock: Any = Unlocked()
    if not held:
        lock.check = Mock(side_effect=LockLostError("lost"))
    inputs = [Input("a", "https://host/a.mp4?key=hushhush")]
    with pytest.raises(KeyboardInterrupt), job._discarding_todo(store, lock):
        (path,) = write_todo(store, "r1", inputs, Earlier()).files
        assert Path(store.full(path)).stat().st_mode & 0o777 == 0o600
        raise KeyboardInterrupt
    assert store.exists(path) is not held


def test_a_model_that_no_engine_takes_is_a_mistake_of_the_configuration() -> None:
    job._check_refusal(Snapshot(engines=(EngineStats(),)))
    with pytest.raises(ModelError, match="the model does not hear"):
        job._check_refusal(Snapshot(refusal="the model does not hear"))
    with pytest.raises(RayjobError, match="run the same command again") as caught:
        job._check_refusal(Snapshot(refusal="no memory is free", engines=(EngineStats(),)))
    assert not isinstance(caught.value, UsageError)
