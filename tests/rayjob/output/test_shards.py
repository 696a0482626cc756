"""The sink: what reaches the tables, in which files, whatever ends the process."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayjob.inputs.manifests import Input
from rayjob.inputs.todo import unaccounted, write_todo
from rayjob.output.ledger import Ledger
from rayjob.output.lock import RunLock
from rayjob.output.shards import ShardSink
from rayjob.output.store import TableStore
from schemas.config import ShardConfig
from schemas.errors import OutputLockedError
from schemas.tables import CAPTIONS, FAILURES, RESULTS, results_table
from tests.support.outputs import (
    NO_LOCK,
    OMNI,
    Crash,
    FaultyStore,
    Unlocked,
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
    together,
)


@pytest.fixture
def local(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path)


def sink_of(
    store: TableStore, *, run_id: str = "r1", lock: Any = NO_LOCK, **config: Any
) -> ShardSink:
    return ShardSink(
        store,
        tables=OMNI,
        run_id=run_id,
        config=ShardConfig(**config),
        lock=lock,
    )


def numbers(store: TableStore, table: str) -> list[int]:
    return [entry.name.part for entry in store.list(table, suffix=".parquet")]


def test_shards_have_the_size_and_schema_asked_for(store: TableStore) -> None:
    sink = sink_of(store, rows=4)
    sink.write(together([captioned(names(9)), failed(names(2, first=9))]))
    sink.write(captioned(names(1, first=11)))
    sink.close()
    folder = "captions/recipe=omni/run_id=r1"
    assert all(path.startswith(f"{folder}/") for path in files(store, "captions"))
    assert numbers(store, "captions") == [0, 1, 2]
    # Rows of both tables count, so the last full shard holds one caption and two failures.
    assert numbers(store, "failures") == [2]
    # Both tables of a shard have one name.
    last = files(store, "captions")[2].removeprefix("captions/")
    assert files(store, "failures") == [f"failures/{last}"]
    rows = 0
    for table, schema in (("captions", CAPTIONS), ("failures", FAILURES)):
        for path in files(store, table):
            file = pq.ParquetFile(pa.BufferReader(store.read_bytes(path)))
            assert file.schema_arrow.equals(schema)
            assert file.metadata.row_group(0).column(0).compression == "ZSTD"
            assert file.metadata.num_rows <= 4
            rows += file.metadata.num_rows
    assert rows == 12
    assert ids_in(store, "captions") == names(9) + names(1, first=11)


def test_videos_seen_before_are_dropped(local: TableStore) -> None:
    sink = sink_of(local, rows=3)
    for _ in range(3):
        sink.write(captioned(names(5)))
        sink.write(together([captioned(names(2)), captioned(names(7)), failed(names(7))]))
    sink.close()
    assert ids_in(local, "captions") == names(7)
    assert ids_in(local, "failures") == []
    assert sink.counts.captions == sink.counts.videos_captioned == 7
    assert sink.counts.videos_failed == 0


def test_a_videos_rows_share_one_shard(local: TableStore) -> None:
    sink = sink_of(local, rows=4)
    for name in names(5):
        rows = [caption(name, level="clip", index=number) for number in range(3)]
        sink.write(results_table(name, captions=rows, failures=[failure(name, stage="caption")]))
    sink.close()
    for table, count in (("captions", 3), ("failures", 1)):
        for name, path in zip(names(5), files(local, table), strict=True):
            ids = pq.read_table(pa.BufferReader(local.read_bytes(path))).column("video_id")
            assert ids.to_pylist() == [name] * count
    # Each has a part that failed.
    assert (sink.counts.videos_captioned, sink.counts.videos_failed) == (0, 5)


def test_counts(local: TableStore) -> None:
    sink = sink_of(local)
    two = [caption("a", level="clip", index=n, prompt_tokens=None) for n in range(2)]
    sink.write(results_table("a", captions=two))
    sink.write(together([captioned(["b", "c"]), failed(["d"]), failed(["e"], error="OpenError")]))
    sink.tick()
    counts = sink.counts
    assert (counts.captions, counts.videos_captioned, counts.videos_failed) == (4, 3, 2)
    assert (counts.prompt_tokens, counts.output_tokens) == (200, 80)
    assert counts.video_sec == pytest.approx(7.5)
    assert counts.failures_by_error == {"NotAVideoError": 1, "OpenError": 1}


def test_an_old_shard_is_written_without_more_rows(local: TableStore) -> None:
    sink = sink_of(local, rows=1000, seconds=0.2)
    sink.write(captioned(names(1)))
    sink.tick()
    assert ids_in(local, "captions") == []
    time.sleep(0.25)
    sink.tick()
    assert ids_in(local, "captions") == names(1)
    sink.tick()
    sink.close()
    assert len(files(local, "captions")) == 1


def test_a_run_without_results_writes_nothing(local: TableStore) -> None:
    sink = sink_of(local)
    sink.write(RESULTS.empty_table())
    sink.close()
    assert files(local, "") == []


def test_a_resumed_run_id_adds_shards(store: TableStore) -> None:
    for first in (0, 3, 6):
        sink = sink_of(store, rows=2)
        sink.write(together([captioned(names(2, first=first)), failed(names(1, first=first + 2))]))
        sink.close()
    assert numbers(store, "captions") == [0, 2, 4]
    assert numbers(store, "failures") == [1, 3, 5]
    assert len(set(ids_in(store, "captions") + ids_in(store, "failures"))) == 9


def test_a_late_write_of_a_dead_process_replaces_nothing(store: TableStore) -> None:
    late = sink_of(store, run_id="r1", lock=Unlocked(epoch=1))
    late.write(captioned(["a", "b"]))  # nothing is written yet, and the process stops for long
    sink = sink_of(store, run_id="r1", lock=Unlocked(epoch=2))
    sink.write(together([captioned(["b", "c"]), failed(["d"])]))
    sink.close()
    late.close()
    assert numbers(store, "captions") == [0, 0]
    ledger = Ledger(store, tables=OMNI)
    assert reconcile(ledger) == 1
    assert ids_in(store, "captions") == ["a", "b", "c"]
    assert ids_in(store, "failures") == ["d"]


def test_what_is_seen_but_not_stored_is_unaccounted_for(local: TableStore) -> None:
    done = Ledger(local, tables=OMNI).load(retry_failed=False)
    write_todo(local, "r1", [Input(name, name) for name in names(4)], done)
    sink = sink_of(local, rows=2)
    sink.write(captioned(names(4)))
    sink.close()
    local.delete(files(local, "captions")[0])
    present = present_in(Ledger(local, tables=OMNI))
    left = unaccounted(local, "r1", seen=sink.seen, present=present)
    assert (left.count, left.examples) == (2, tuple(names(2)))


def test_a_result_without_rows_stays_unaccounted_for(local: TableStore) -> None:
    done = Ledger(local, tables=OMNI).load(retry_failed=False)
    write_todo(local, "r1", [Input(name, name) for name in names(3)], done)
    sink = sink_of(local)
    sink.write(together([captioned(names(2)), results_table(names(3)[2])]))
    sink.close()
    present = present_in(Ledger(local, tables=OMNI))
    left = unaccounted(local, "r1", seen=sink.seen, present=present)
    assert (left.count, left.examples) == (1, tuple(names(3)[2:]))


@pytest.mark.parametrize("change", [{"caption": None}, {"video_id": "another.mp4"}])
def test_rows_that_do_not_fit_cost_one_video(local: TableStore, change: dict[str, Any]) -> None:
    bad = results_table("bad.mp4", captions=[caption("bad.mp4", **change)])
    sink = sink_of(local)
    sink.write(together([captioned(names(2)), bad, failed(["x.mp4"])]))
    sink.close()
    assert ids_in(local, "captions") == names(2)
    assert ids_in(local, "failures") == ["bad.mp4", "x.mp4"]
    rows = pq.read_table(local.full("failures"), partitioning=None).to_pylist()
    row = next(row for row in rows if row["video_id"] == "bad.mp4")
    assert (row["stage"], row["error"], row["uri"]) == (
        "write",
        "WriteError",
        "s3://videos/bad.mp4",
    )


def without_nullability(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(without_nullability(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(each.name, without_nullability(each.type)) for each in kind])
    return kind


def test_blocks_that_lost_parts_of_their_schema_fit(local: TableStore) -> None:
    loose = pa.schema([(each.name, without_nullability(each.type)) for each in RESULTS])
    bad = results_table("bad.mp4", captions=[caption("bad.mp4", model=None)])
    sink = sink_of(local)
    sink.write(captioned(names(2)))
    for results in (captioned(names(2, first=2)), failed(["x.mp4"]), bad):
        sink.write(pa.Table.from_pylist(results.to_pylist(), schema=loose))
    sink.write(pa.table({"video_id": ["none.mp4"], "captions": [[]], "failures": [[]]}))
    sink.close()
    assert ids_in(local, "captions") == names(4)
    assert ids_in(local, "failures") == ["bad.mp4", "x.mp4"]
    (path,) = files(local, "captions")
    assert pq.read_schema(local.full(path)).equals(CAPTIONS)


def test_nothing_is_published_without_the_lock(store: TableStore) -> None:
    class Lost(Unlocked):
        def check(self) -> None:
            raise OutputLockedError("lost")

    sink = sink_of(store, lock=Lost())
    sink.write(captioned(names(2)))
    with pytest.raises(OutputLockedError):
        sink.close()
    assert files(store, "") == []


def test_several_threads_may_write(local: TableStore) -> None:
    sink = sink_of(local, rows=7, seconds=0.01)
    todo = names(200)
    threads = [
        threading.Thread(target=lambda n=n: [sink.write(captioned([x])) for x in todo[n::3]])
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()
    assert ids_in(local, "captions") == todo
    assert sink.counts.captions == 200


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_between_the_tables_never_hides_a_failed_part(
    local: TableStore, after: bool
) -> None:
    """A video of which a part failed has a failure and captions: the captions come last."""
    part = results_table("v", captions=[caption("v", level="clip")], failures=[failure("v")])
    for at in range(3):
        broken = FaultyStore(local, at=at, after=after)
        sink = sink_of(broken, run_id=f"r{at}{after}")
        sink.write(part)
        with contextlib.suppress(Crash):
            sink.close()
        written = {path.split("/")[0] for path in files(local, "") if f"r{at}{after}" in path}
        assert written in (set(), {"failures"}, {"failures", "captions"})


def test_readers_see_a_file_whole_or_not_at_all(local: TableStore) -> None:
    old, new = bytes(1 << 20), b"x" * (32 << 20)
    local.write_bytes("captions/part", old)
    sizes = set()
    writer = threading.Thread(target=local.write_bytes, args=("captions/part", new))
    writer.start()
    while writer.is_alive():
        sizes.add(Path(local.full("captions/part")).stat().st_size)
        assert files(local, "captions") == ["captions/part"]
    writer.join()
    assert sizes <= {len(old), len(new)}
    assert files(local, "") == ["captions/part"]


def write_until_killed(
    root: str, options: Any, run_id: str, todo: list[str], shard: int, taken: Any
) -> None:
    """A small driver: everything but the graph."""
    store = TableStore(root, options)
    with RunLock(store, run_id) as lock:
        ledger = Ledger(store, tables=OMNI)
        ledger.reconcile(lock)
        done = ledger.load(retry_failed=False)
        write_todo(store, run_id, [Input(name, f"s3://videos/{name}") for name in todo], done)
        sink = ShardSink(
            store,
            tables=OMNI,
            run_id=run_id,
            config=ShardConfig(rows=shard),
            lock=lock,
        )
        for number, name in enumerate(todo):
            if name not in done.done:
                outcome = failed([name]) if number % 5 == 0 else captioned([name])
                sink.write(outcome)
                taken.value += 1
        sink.close()
        lock.advance()
        present = ledger.present(ledger.reconcile(lock))
        assert unaccounted(store, run_id, seen=sink.seen, present=present).count == 0


@pytest.mark.parametrize("kind", ["local", "moto"])
def test_killed_at_any_moment_and_resumed(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = open_store(kind, request, tmp_path)
    root = store.root if store.is_local else store.url
    rounds, count = (10, 600) if kind == "local" else (4, 150)
    draw = random.Random(3)
    todo = names(count)
    before = 0
    rounds_with_progress = 0
    for number in range(rounds):
        taken = children.RawValue("i", 0)
        # Every other round goes on under the same run id.
        process = child(write_until_killed, root, store.options, f"r{number // 2}", todo, 5, taken)
        target = draw.randint(0, 30)
        while taken.value < target and process.is_alive():
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.03))
        process.kill()
        process.join()
        captions, failures = ids_in(store, "captions"), ids_in(store, "failures")
        present = captions + failures
        assert len(set(present)) == len(present) >= before
        assert all(path.endswith(".parquet") for path in files(store, "captions"))
        rounds_with_progress += before < len(present) < len(todo)
        before = len(present)
    assert rounds_with_progress >= rounds // 2, "the kills missed the writing"
    taken = children.RawValue("i", 0)
    process = child(write_until_killed, root, store.options, "last", todo, 100, taken)
    process.join()
    assert taken.value == len(todo) - before
    assert process.exitcode == 0
    assert sorted(ids_in(store, "captions") + ids_in(store, "failures")) == todo
    assert ids_in(store, "failures") == todo[::5]
    assert files(store, "runs/_locks") == []
