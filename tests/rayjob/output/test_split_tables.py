"""The table of a split holds each video's segments once, as that of a captioning its captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from rayjob.counts import Counts
from rayjob.output.layout import ResultTables
from rayjob.output.ledger import Ledger
from rayjob.output.shards import ShardSink
from rayjob.output.store import TableStore
from rayjob.watching.health import Quarantine
from schemas.config import ShardConfig
from schemas.errors import Cause
from schemas.tables import SPLITS, SegmentRow, splits_table
from tests.support.outputs import Unlocked, failure, ids_in

TABLES = ResultTables.of_split("split")


def segment(video_id: str, index: int, **changes: Any) -> SegmentRow:
    values: dict[str, Any] = {
        "video_id": video_id, "uri": f"/v/{video_id}", "index": index, "start_sec": index,
        "end_sec": index + 1.0, "duration_sec": 2.0, "metadata": None,
    }  # fmt: skip
    return SegmentRow(**(values | changes))


def split(video_id: str, **changes: Any) -> pa.Table:
    return splits_table(video_id, segments=[segment(video_id, at, **changes) for at in (0, 1)])


def write(store: TableStore, lock: Any, *tables: pa.Table) -> ShardSink:
    sink = ShardSink(
        store, tables=TABLES, run_id="r1", config=ShardConfig(rows=3), lock=lock,
        settings_hash="0" * 16,
    )  # fmt: skip
    for table in tables:
        sink.write(table)
    sink.close()
    return sink


def test_what_is_split_is_done_and_counted(tmp_path: Path) -> None:
    store, lock = TableStore(tmp_path), Unlocked()
    sink = write(
        store, lock, split("a"), split("b", kept=False, reason="still"),
        splits_table("c", failures=[failure("c")]), split("a"),
    )  # fmt: skip
    counts: Counts = sink.counts
    assert (counts.videos_captioned, counts.videos_failed, counts.captions) == (2, 1, 0)
    assert (counts.segments, counts.segments_kept, counts.video_sec) == (4, 2, 4.0)
    ledger = Ledger(store, tables=TABLES)
    assert len(ledger.present(ledger.reconcile(lock))) == 3
    earlier = ledger.load(retry_failed=False, settings_hash="0" * 16)
    assert all(each in earlier.done for each in "abc")


def test_a_video_that_was_split_twice_stands_once(tmp_path: Path) -> None:
    store, lock = TableStore(tmp_path), Unlocked()
    write(store, lock, split("a"), split("b"))
    lock.advance()
    write(store, lock, split("a"))
    lock.advance()
    Ledger(store, tables=TABLES).reconcile(lock)
    assert ids_in(store, "segments") == ["a", "a", "b", "b"]


def test_rows_that_do_not_fit_the_table_are_a_failure(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    write(store, Unlocked(), splits_table("a", segments=[segment("other", 0)]), split("b"))
    assert ids_in(store, "segments") == ["b", "b"]
    assert ids_in(store, "failures") == ["a"]


def test_failures_that_accuse_the_storage_are_held_back() -> None:
    quarantine = Quarantine()
    lost = failure("a", stage="open", cause=Cause.AVAILABILITY.value, transient=True)
    assert quarantine.admit(splits_table("a", failures=[lost])).num_rows == 0
    assert quarantine.admit(split("b")).num_rows == 1
    assert quarantine.release().schema.equals(SPLITS)
