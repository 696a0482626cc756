"""The to-do list: which inputs a run takes, and the proof that none got lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.storage.uris import public_uri
from rayjob.ids import Earlier, IdMap, stamps
from rayjob.inputs import todo as module
from rayjob.inputs.manifests import Input
from rayjob.inputs.todo import TodoList, plan_todo, unaccounted, write_todo
from rayjob.output.store import TableStore
from schemas.blocks import INPUTS
from schemas.errors import SourceError
from tests.support.outputs import KINDS, files, names, open_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TableStore:
    return open_store(request.param, request, tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path)


def items(count: int, *, first: int = 0) -> list[Input]:
    return [Input(name, f"s3://videos/{name}") for name in names(count, first=first)]


def done_with(inputs: list[Input], *, tried: dict[str, int] | None = None) -> Earlier:
    ids, attempts = IdMap(), IdMap()
    versions = [each.source_version for each in inputs]
    ids.add([each.video_id for each in inputs], stamps((each.uri for each in inputs), versions))
    attempts.add([*(tried or {})], [*(tried or {}).values()])
    return Earlier(done=ids, attempts=attempts)


NOTHING = done_with([])


def rows_of(store: TableStore, info: TodoList) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for path in info.files:
        table = pq.read_table(pa.BufferReader(store.read_bytes(path)))
        assert table.schema.equals(INPUTS)
        rows += table.to_pylist()
    return rows


def test_rows_in_order_without_what_is_done(store: TableStore) -> None:
    inputs = [*items(6), Input("odd ü.mp4", "/data/odd ü.mp4", '{"label": 3}')]
    info = write_todo(store, "r1", inputs, done_with(inputs[:2], tried={names(6)[5]: 4}))
    assert (info.total, info.skipped, info.todo, info.moved) == (7, 2, 5, 0)
    assert list(info.files) == files(store, "runs/r1") == ["runs/r1/todo/part-00000.parquet"]
    rows = rows_of(store, info)
    assert [row["video_id"] for row in rows] == [each.video_id for each in inputs[2:]]
    assert [row["attempts"] for row in rows] == [0, 0, 0, 4, 0]
    assert rows[-1] == {
        "video_id": "odd ü.mp4",
        "uri": "/data/odd ü.mp4",
        "metadata": '{"label": 3}',
        "source_version": None,
        "attempts": 0,
        "material": None,
    }


def test_changed_inputs_are_taken_when_asked(local: TableStore) -> None:
    before = [
        Input("same", "/v/same", None, "1"),
        Input("changed", "/v/changed", None, "1"),
        Input("moved", "/v/moved", None, "1"),
        Input("unknown", "/v/unknown", None, None),
        Input("gone", "/v/gone", None, "1"),
    ]
    now = [
        Input("same", "/v/same", None, "1"),
        Input("changed", "/v/changed", None, "2"),
        Input("moved", "/w/moved", None, "2"),
        Input("unknown", "/v/unknown", None, "2"),
        Input("new", "/v/new", None, "1"),
        Input("again", "/v/again", None, "1"),
    ]
    done = done_with(before, tried={"again": 2})
    for retake, taken in ((False, ["new", "again"]), (True, ["changed", "new", "again"])):
        info = write_todo(local, "r1", now, done, retake_changed=retake)
        rows = rows_of(local, info)
        assert [row["video_id"] for row in rows] == taken
        assert {row["video_id"]: row["source_version"] for row in rows}["new"] == "1"
        assert (info.changed, info.moved, info.gone, info.retried) == (1, 1, 1, 1)
        assert (info.todo, info.skipped) == (len(taken), len(now) - len(taken))
    few = plan_todo(now, done, limit=1, retake_changed=True)
    assert (few.total, few.changed, few.gone) == (2, 1, 0)


def test_inputs_done_with_other_settings_are_taken_and_told(local: TableStore) -> None:
    replaced = IdMap()
    replaced.add(names(4))
    earlier = Earlier(done=done_with(items(2, first=4)).done, replaced=replaced)
    info = write_todo(local, "r1", items(7), earlier)
    assert (info.todo, info.replaced, info.skipped, info.gone) == (5, 4, 2, 0)
    assert [row["video_id"] for row in rows_of(local, info)] == [*names(4), names(7)[6]]


def test_nothing_to_do_writes_no_file(local: TableStore) -> None:
    info = write_todo(local, "r1", items(3), done_with(items(3)))
    assert (info.total, info.skipped, info.todo, info.files) == (3, 3, 0, ())
    assert unaccounted(local, "r1", seen=IdMap(), present=IdMap()).count == 0


def test_streams_into_files_of_bounded_size(
    local: TableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_PER_FILE", 100)
    written: list[int] = []

    def inputs() -> Iterator[Input]:
        for number, item in enumerate(items(1050)):
            # What was listed long ago is on disk, so it is not in memory.
            written.append(number - 100 * len(files(local, "runs/r1/todo")))
            yield item

    info = write_todo(local, "r1", inputs(), done_with(items(30, first=200)))
    assert max(written) < 330
    sizes = [pq.ParquetFile(local.full(path)).metadata.num_rows for path in info.files]
    assert sizes == [100] * 10 + [20]
    assert [row["video_id"] for row in rows_of(local, info)] == names(200) + names(820, first=230)


def test_limit_counts_what_is_to_do(local: TableStore) -> None:
    done: list[Input] = []
    for expected in (3, 3, 2, 0):
        info = write_todo(local, "r1", items(8), done_with(done), limit=3)
        assert (info.todo, info.skipped) == (expected, len(done))
        assert info.total == info.skipped + info.todo
        rows = [row["video_id"] for row in rows_of(local, info)]
        assert rows == names(expected, first=len(done))
        done += items(expected, first=len(done))


def test_limit_ends_the_listing(local: TableStore) -> None:
    listed: list[Input] = []

    def inputs() -> Iterator[Input]:
        for item in items(50_000):
            listed.append(item)
            yield item

    info = write_todo(local, "r1", inputs(), done_with(items(9_000)), limit=500)
    assert (info.total, info.skipped, info.todo) == (9_500, 9_000, 500)
    assert len(listed) <= 9_500 + 500


def test_an_input_listed_twice_counts_once(local: TableStore) -> None:
    info = write_todo(local, "r1", [*items(3), *items(3), *items(5)], done_with(items(1)))
    assert (info.total, info.skipped, info.todo) == (5, 1, 4)
    assert [row["video_id"] for row in rows_of(local, info)] == names(4, first=1)


def test_two_inputs_with_one_id_are_an_error(local: TableStore) -> None:
    twins = [Input("a.mp4", "s3://one/a.mp4"), Input("a.mp4", "s3://two/a.mp4")]
    for attempt in (
        lambda: write_todo(local, "r1", twins, NOTHING),
        lambda: plan_todo(twins, NOTHING),
    ):
        with pytest.raises(
            SourceError, match=r"two inputs have the id 'a\.mp4': s3://two/a\S* and s3://\S+\. Ids"
        ):
            attempt()


def test_inputs_done_under_another_uri_are_told(local: TableStore) -> None:
    old = [Input(name, f"/old/{name}") for name in names(3)]
    info = write_todo(local, "r1", items(5), done_with(old))
    assert (info.skipped, info.todo, info.moved) == (3, 2, 3)
    assert info.moved_example == names(1)[0]


def test_a_second_start_under_the_same_id_replaces_the_list(store: TableStore) -> None:
    write_todo(store, "r1", items(5), NOTHING)
    write_todo(store, "other", items(2), NOTHING)
    info = write_todo(store, "r1", items(5), done_with(items(4)))
    assert [row["video_id"] for row in rows_of(store, info)] == names(1, first=4)
    info = write_todo(store, "r1", items(5), done_with(items(5)))
    assert files(store, "runs") == [], "those of other runs, which are dead, go too"


def test_plan_counts_and_writes_nothing(local: TableStore) -> None:
    plan = plan_todo(items(9), done_with(items(2)), limit=4)
    assert (plan.total, plan.skipped, plan.todo, plan.files) == (6, 2, 4, ())
    assert not Path(local.root, "runs").exists()


def test_unaccounted_names_the_first_few(store: TableStore) -> None:
    write_todo(store, "r1", items(40), NOTHING)
    seen, everything = IdMap(), IdMap()
    seen.add(names(15))
    everything.add(names(40))
    left = unaccounted(store, "r1", seen=seen, present=everything)
    assert (left.count, left.examples) == (25, tuple(names(10, first=15)))
    seen.add(names(40))
    assert unaccounted(store, "r1", seen=seen, present=everything).count == 0
    assert unaccounted(store, "r1", seen=everything, present=IdMap()).count == 40


def test_an_address_signed_anew_is_done(local: TableStore) -> None:
    before, now = (
        [Input("v", f"https://user:pw@host/v?id=1&Expires={at}&Signature={at}")] for at in (1, 2)
    )
    held = [Input(each.video_id, public_uri(each.uri)) for each in before]
    for done in (before, held):
        info = plan_todo(now, done_with(done))
        assert (info.skipped, info.todo, info.moved) == (1, 0, 0)
    other = [Input("v", "https://host/v?id=2")]
    assert plan_todo(other, done_with(held)).moved == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [(), (1,), (3,), (512, 511), (2048, 2048, 700), (1, 1, 2)])
def test_parts_hold_each_row_once_and_are_of_a_size(rows: tuple[int, ...], count: int) -> None:
    paths = tuple(f"part-{number}" for number in range(len(rows)))
    listed = dataclasses.replace(plan_todo([], NOTHING), files=paths, rows=rows)
    parts = listed.shared_out(count)
    taken = [
        [
            (each.path, 512 * each.group + row)
            for each in part
            for row in range(each.first, each.first + each.rows)
        ]
        for part in parts
    ]
    everything = [(path, row) for path, of in zip(paths, rows, strict=True) for row in range(of)]
    assert sorted(row for part in taken for row in part) == everything
    assert all(each.rows for part in parts for each in part)
    sizes = [len(part) for part in taken]
    assert len(sizes) == count and max(sizes) - min(sizes) <= 512
