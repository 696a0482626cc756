"""docs/tables.md, the contract: complete, and true as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from rayjob.output.ledger import Ledger
from rayjob.output.shards import ShardSink
from rayjob.output.store import TableStore
from rayjob.output.summary import RunSummary
from schemas.config import ShardConfig
from schemas.tables import CAPTIONS, FAILURES, results_table
from tests.support.outputs import (
    NO_LOCK,
    OMNI,
    caption,
    captioned,
    failed,
    failure,
    reconcile,
    settled,
    together,
)
from tools.tables_page import PAGE, updated


def test_the_page_names_every_column_and_field() -> None:
    page = PAGE.read_text("utf-8")
    assert page == updated(page), "run python tools/tables_page.py"
    for name in (*CAPTIONS.names, *FAILURES.names, *RunSummary.model_fields):
        assert f"| `{name}` |" in page
    for line in page.splitlines():
        assert not re.fullmatch(r"\| `\w+` \|.*\|\s*\|", line), "a meaning is missing"


def write(store: TableStore, run_id: str, *results: pa.Table) -> None:
    sink = ShardSink(
        store, tables=OMNI, run_id=run_id, config=ShardConfig(rows=3), lock=NO_LOCK,
    )  # fmt: skip
    sink.write(together(results))
    sink.close()


def done_by_the_page(store: TableStore) -> list[str]:
    return [row[0] for row in duckdb.sql(query_of(store, "sql")).fetchall()]


def query_of(store: TableStore, kind: str) -> str:
    """An example of the page, for this output."""
    (query,) = re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return query.replace("OUT/", f"{store.root}/").replace("NAME", "omni")


def test_reading_exactly_as_the_page_tells_it(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    write(store, "r1", captioned(["a", "b"]), failed(["c"], transient=True))
    settled(Ledger(store, tables=OMNI))
    write(store, "r2", captioned(["b"]))
    settled(Ledger(store, tables=OMNI))
    (shard,) = (entry for entry in store.list("captions") if "run_id=r2" in entry.path)
    late = store.read_bytes(shard.path)
    store.write_bytes(f"{OMNI.captions}/run_id=r0/part-00001-epoch0001.parquet", late)
    with duckdb.connect() as connection:
        first, last = query_of(store, "sql exact").split(";")
        connection.execute(first)
        found = connection.sql(last).to_arrow_table()
    assert sorted(found.column("video_id").to_pylist()) == ["a", "b"]
    assert set(found.column("run_id").to_pylist()) == {"r1", "r2"}


@pytest.mark.parametrize("reconciled", [False, True])
def test_what_is_done_as_the_page_tells_it(tmp_path: Path, reconciled: bool) -> None:
    """Also after a crash, before anything was brought to agree."""
    store = TableStore(tmp_path)
    everything = ["a", "b", "part", "stopped", "again", "over", "bad", "busy"]
    part = caption("part", level="clip"), failure("part", stage="caption")
    stopped = caption("stopped", level="clip"), failure("stopped", transient=True)
    write(
        store, "r9", captioned(["a", "b"]), failed(["again", "over", "busy"], transient=True),
        *(results_table(row.video_id, captions=[row], failures=[why])
          for row, why in (part, stopped)),
    )  # fmt: skip
    write(store, "r1", failed(["bad", "over"]), captioned(["again"]))
    if reconciled:
        assert reconcile(Ledger(store, tables=OMNI)) > 0
    earlier = Ledger(store, tables=OMNI).load(retry_failed=False)
    done = sorted(each for each in everything if each in earlier.done)
    assert done == ["a", "again", "b", "bad", "over", "part"]
    assert done_by_the_page(store) == done


def test_a_file_of_somebody_else_counts(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    write(store, "r1", captioned(["a"]), failed(["b"], transient=True))
    rows = pa.Table.from_pylist([vars(caption("b")), vars(caption("c"))], schema=CAPTIONS)
    theirs = rows.drop_columns(["settings_hash", "details", "structured_fields"])
    store.write_table(f"{OMNI.captions}/run_id=theirs/part-00007.parquet", theirs)
    ledger = Ledger(store, tables=OMNI)
    assert reconcile(ledger) == 1
    earlier = ledger.load(retry_failed=False, settings_hash="0123")
    assert (len(earlier.done), earlier.unknown_settings) == (3, 3)
    write(store, "r2", captioned(["d"]))
    assert max(entry.name.part for entry in store.list("captions")) == 8
