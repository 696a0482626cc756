"""The ledger: what counts as done, and how the two tables are brought to agree."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rayjob.output.ledger import Ledger
from rayjob.output.store import TableStore
from schemas.errors import UsageError
from schemas.tables import CAPTIONS, results_table
from tests.support.outputs import (
    EPOCH,
    OMNI,
    Crash,
    FaultyStore,
    caption,
    captioned,
    child,
    children,
    failed,
    failure,
    files,
    ids_in,
    names,
    open_store,
    present_in,
    reconcile,
    tables_of,
    write,
)


def done_of(store: TableStore, ids: list[str], *, retry_failed: bool = False) -> list[str]:
    done = Ledger(store, tables=OMNI).load(retry_failed=retry_failed)
    return [each for each in ids if each in done.done]


def test_what_is_done(store: TableStore) -> None:
    write(store, "r1", captioned(["a", "b"]), failed(["bad"]), rows=2)
    write(store, "r2", captioned(["c"]), failed(["busy"], transient=True, attempts=3))
    write(store, "r3", captioned(["other"]), recipe="long")
    ledger = Ledger(store, tables=OMNI)
    done = ledger.load(retry_failed=False)
    everything = ["a", "b", "bad", "busy", "c", "other", "new"]
    assert [each for each in everything if each in done.done] == ["a", "b", "bad", "c"]
    assert len(done.done) == 4
    assert done.attempts.find(everything).tolist() == [-1, -1, -1, 3, -1, -1, -1]

    done = ledger.load(retry_failed=True)
    assert [each for each in everything if each in done.done] == ["a", "b", "c"]
    assert len(done.done) == 3
    assert done.attempts.find(everything).tolist() == [-1, -1, 1, 3, -1, -1, -1]


def test_an_empty_output_has_nothing_done(store: TableStore) -> None:
    ledger = Ledger(store, tables=OMNI)
    assert len(ledger.load(retry_failed=False).done) == 0
    assert reconcile(ledger) == 0
    assert len(present_in(ledger)) == 0


def test_recipes_whose_names_begin_alike_are_kept_apart(store: TableStore) -> None:
    write(store, "r1", captioned(["a"]), recipe="omni2")
    write(store, "r1", captioned(["b"]), recipe="my.module:omni")
    assert done_of(store, ["a", "b"]) == []
    assert "b" in Ledger(store, tables=tables_of("my.module:omni")).load(retry_failed=False).done


def test_the_newest_failure_decides(local: TableStore) -> None:
    early, late = EPOCH, EPOCH + timedelta(hours=1)
    # The worker of the second attempt had a clock that was behind.
    write(local, "r1", failed(["x"], transient=False, attempts=1, created_at=late))
    write(local, "r2", failed(["x"], transient=True, attempts=2, created_at=early))
    write(local, "r3", failed(["y"], transient=True, attempts=1, created_at=early))
    write(local, "r4", failed(["y"], transient=False, attempts=2, created_at=late))
    ledger = Ledger(local, tables=OMNI)
    for _ in range(2):
        done = ledger.load(retry_failed=False)
        assert [each for each in "xy" if each in done.done] == ["y"]
        assert done.attempts.find(["x", "y"]).tolist() == [2, -1]
        reconcile(ledger)
    assert ids_in(local, "failures") == ["x", "y"]


def test_each_input_ends_in_one_table(store: TableStore) -> None:
    write(store, "r1", failed(["a", "b", "c", "d", "e"], transient=True), captioned(["z"]))
    write(store, "r2", captioned(["a"]), failed(["b", "c"], attempts=2, transient=True))
    write(store, "r3", captioned(["b"]), failed(["d"], attempts=2))
    ledger = Ledger(store, tables=OMNI)
    assert reconcile(ledger) == 5  # a and b of r1, b of r2, c and d of r1
    assert ids_in(store, "captions") == ["a", "b", "z"]
    assert ids_in(store, "failures") == ["c", "d", "e"]
    before = {path: store.read_bytes(path) for path in files(store, "failures")}
    assert reconcile(ledger) == 0
    assert {path: store.read_bytes(path) for path in files(store, "failures")} == before

    write(store, "r4", captioned(["c", "d", "e"]))
    assert reconcile(ledger) == 3
    assert files(store, "failures") == []


def test_a_video_of_which_a_part_failed_keeps_both(local: TableStore) -> None:
    parts = [caption("v", level="clip", index=n) for n in range(3)]
    broken = [failure("v", stage="caption", error="CaptionError") for _ in range(2)]
    write(local, "r1", results_table("v", captions=parts, failures=broken))
    ledger = Ledger(local, tables=OMNI)
    assert reconcile(ledger) == 0
    assert (ids_in(local, "captions"), ids_in(local, "failures")) == (["v"] * 3, ["v"] * 2)
    assert "v" in ledger.load(retry_failed=False).done
    again = ledger.load(retry_failed=True)
    assert "v" not in again.done and again.attempts.get("v") == 1


@pytest.mark.parametrize("outcome", ["whole", "part", "nothing"])
def test_the_next_attempt_at_a_part_replaces_it(local: TableStore, outcome: str) -> None:
    broken = [failure("v", stage="caption", error="IncompleteError", attempts=1)]
    parts = [caption("v", level="clip", index=n) for n in range(3)]
    write(local, "r1", results_table("v", captions=parts, failures=broken), captioned(["w"]))
    ledger = Ledger(local, tables=OMNI)
    reconcile(ledger)
    again = [failure("v", stage="caption", error="IncompleteError", attempts=2)]
    new = [caption("v", level="clip", index=n) for n in range(5)]
    rows = {"whole": (new, []), "part": (new[:4], again), "nothing": ([], again)}[outcome]
    write(local, "r2", results_table("v", captions=rows[0], failures=rows[1]))
    reconcile(ledger)
    assert ids_in(local, "captions") == ["v"] * len(rows[0]) + ["w"]
    assert ids_in(local, "failures") == ["v"] * len(rows[1])
    assert reconcile(ledger) == 0
    assert ("v" in ledger.load(retry_failed=True).done) == (outcome == "whole")


def test_captions_of_a_run_that_was_taken_for_dead_go(local: TableStore) -> None:
    write(local, "r1", captioned(names(6)), rows=3)
    write(local, "r2", captioned(names(4, first=4)), rows=3)
    ledger = Ledger(local, tables=OMNI)
    assert reconcile(ledger) == 2
    assert ids_in(local, "captions") == names(8)
    assert reconcile(ledger) == 0


@pytest.mark.parametrize(
    ("kind", "after", "stride"), [("local", False, 1), ("local", True, 1), ("moto", True, 3)]
)
def test_reconcile_survives_a_crash_at_every_step(
    kind: str, after: bool, stride: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    crashes = 0
    for at in range(0, 100, stride):
        store = open_store(kind, request, tmp_path / str(at))
        if not store.is_local:
            store = TableStore(f"{store.url}/{at}", store.options)
        write(store, "r1", failed(names(9), transient=True), rows=3)
        write(store, "r2", failed(names(6), transient=True, attempts=2), rows=4)
        write(store, "r3", captioned(names(4)), rows=2)
        write(store, "r4", captioned(names(2, first=3)))
        broken = FaultyStore(store, at=at, after=after)
        with contextlib.suppress(Crash):
            reconcile(Ledger(broken, tables=OMNI))
        assert set(ids_in(store, "captions")) == set(names(5)), "a caption was lost"
        present = set(ids_in(store, "captions") + ids_in(store, "failures"))
        assert present == set(names(9)), "an input was lost"
        assert len(Ledger(store, tables=OMNI).load(retry_failed=False).done) == 5

        reconcile(Ledger(store, tables=OMNI))
        assert ids_in(store, "captions") == names(5)
        assert ids_in(store, "failures") == names(4, first=5)
        if not broken.broke:
            break
        crashes += 1
    assert crashes >= 5 // stride


def test_a_damaged_shard_is_named(store: TableStore) -> None:
    write(store, "r1", captioned(names(3)))
    (path,) = files(store, "captions")
    whole = store.read_bytes(path)
    for data in (b"", b"PAR1", whole[: len(whole) // 2], whole[:-200] + bytes(200)):
        store.write_bytes(path, data)
        for use in (
            lambda: done_of(store, []),
            lambda: present_in(Ledger(store, tables=OMNI)),
        ):
            with pytest.raises(UsageError, match=r"part-00000-\w+\.parquet is damaged.*Move it"):
                use()
    store.write_bytes(path, whole)
    assert len(present_in(Ledger(store, tables=OMNI))) == 3


def test_a_shard_of_another_version_is_named(local: TableStore) -> None:
    table = pa.table({"video_id": ["a"], "uri": [3], "text": ["x"]})
    local.write_table("captions/recipe=omni/run_id=old/part-00000.parquet", table)
    for use in (
        lambda: done_of(local, []),
        lambda: reconcile(Ledger(local, tables=OMNI)),
    ):
        with pytest.raises(UsageError, match="run_id=old/part-00000") as caught:
            use()
        assert "caption" in str(caught.value) and "text" in str(caught.value)
        assert "--output" in str(caught.value)


def test_leftovers_of_killed_writers_are_no_shards(local: TableStore) -> None:
    write(local, "r1", captioned(["a"]))
    leftover = Path(local.full("runs/_tmp/0123.tmp"))
    leftover.write_bytes(b"PAR1 half a shard")
    assert done_of(local, ["a"]) == ["a"]
    reconcile(Ledger(local, tables=OMNI))
    assert leftover.exists(), "it may belong to a writer that is alive"
    old = time.time() - 7200
    os.utime(leftover, (old, old))
    reconcile(Ledger(local, tables=OMNI))
    assert not leftover.exists()


LARGE = 200_000


def load_and_measure(root: str, answers: Any) -> None:
    store = TableStore(root)
    Ledger(store, tables=tables_of("none")).load(retry_failed=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    done = Ledger(store, tables=OMNI).load(retry_failed=False)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.put((len(done.done), seconds, (after - before) / 1024))


def test_a_large_ledger_loads_in_seconds(local: TableStore) -> None:
    rows = 10_000
    row = pa.Table.from_pylist([vars(caption("x"))], schema=CAPTIONS)
    for shard in range(LARGE // rows):
        ids = names(rows, first=shard * rows)
        table = row.take(pa.array(np.zeros(rows, dtype=np.int64)))
        table = table.set_column(0, CAPTIONS.field(0), pa.array(ids))
        table = table.set_column(1, CAPTIONS.field(1), pa.array([f"s3://b/{i}" for i in ids]))
        local.write_table(f"captions/recipe=omni/run_id=r1/part-{shard:05d}.parquet", table)
    answers = children.SimpleQueue()
    process = child(load_and_measure, local.root, answers)
    count, seconds, megabytes = answers.get()
    process.join()
    print(f"{count} ids: {seconds:.2f} s, {megabytes:.0f} MB")
    assert count == LARGE
    assert seconds < 15
    # Mostly Arrow's buffers of the shards that are read at once; the ids take 5 MB.
    assert megabytes < 250
