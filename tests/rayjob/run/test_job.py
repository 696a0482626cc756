"""How a run ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

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
