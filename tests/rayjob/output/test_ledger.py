"""The ledger: what counts as done, and how the two tables are brought to agree."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayjob.ids import IdMap, digests, has_changed, has_moved, stamps
from rayjob.output.ledger import Ledger
from rayjob.output.shards import ShardSink
from rayjob.output.store import TableStore
from schemas.config import ShardConfig
from schemas.errors import OutputUnavailableError, UsageError
from schemas.tables import CAPTIONS, results_table
from tests.support.outputs import (
    EPOCH,
    KINDS,
    NO_LOCK,
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
    together,
)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TableStore:
    return open_store(request.param, request, tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path / "out")


def write(
    store: TableStore,
    run_id: str,
    *results: pa.Table,
    recipe: str = "omni",
    rows: int = 1000,
    settings: str | None = None,
) -> None:
    sink = ShardSink(
        store,
        tables=tables_of(recipe),
        run_id=run_id,
        config=ShardConfig(rows=rows),
        lock=NO_LOCK,
        settings_hash=settings,
    )
    sink.write(together(results))
    sink.close()


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


def of_version(version: str | None, *results: pa.Table) -> list[pa.Table]:
    """The same results, of another content of their videos."""
    tables = []
    for table in results:
        rows = table.to_pylist()
        for row in rows:
            for each in (*row["captions"], *row["failures"]):
                each["source_version"] = version
        tables.append(pa.Table.from_pylist(rows, schema=table.schema))
    return tables


def versions_in(store: TableStore, table: str) -> list[tuple[str, str | None]]:
    pairs = []
    for path in files(store, table):
        rows = pq.read_table(pa.BufferReader(store.read_bytes(path)))
        pairs += [(row["video_id"], row["source_version"]) for row in rows.to_pylist()]
    return sorted(pairs)


@pytest.mark.parametrize("second", ["a-first-by-name", "z-last-by-name", "r1"])
def test_the_newest_content_wins(local: TableStore, second: str) -> None:
    """Also where the second run's name comes first, and its workers' clocks are behind."""
    late = EPOCH + timedelta(hours=1)
    old = failed(["d", "e", "f"], created_at=late, attempts=3)
    write(local, "r1", *of_version("1", captioned(["a", "b", "c", "g"]), old), rows=2)
    new = failed(["b", "e"], created_at=EPOCH)
    write(local, second, *of_version("2", captioned(["a", "d"]), new), rows=2)
    ledger = Ledger(local, tables=OMNI)
    assert reconcile(ledger) == 4  # a, b, d and e of the first run
    assert versions_in(local, "captions") == [("a", "2"), ("c", "1"), ("d", "2"), ("g", "1")]
    assert versions_in(local, "failures") == [("b", "2"), ("e", "2"), ("f", "1")]
    assert reconcile(ledger) == 0


def test_a_failure_without_a_change_never_costs_captions(local: TableStore) -> None:
    write(local, "r1", *of_version("1", captioned(["same", "was-known"])), captioned(["unknown"]))
    write(local, "r2", *of_version("1", failed(["same", "unknown"])), failed(["was-known"]))
    reconcile(Ledger(local, tables=OMNI))
    assert ids_in(local, "captions") == ["same", "unknown", "was-known"]
    assert ids_in(local, "failures") == []


@pytest.mark.parametrize("after", [False, True])
def test_taking_changed_videos_again_survives_a_crash_at_every_step(
    tmp_path: Path, after: bool
) -> None:
    crashes = 0
    for at in range(100):
        store = TableStore(tmp_path / str(at))
        write(store, "r1", *of_version("1", captioned(names(7)), failed(["x", "y"])), rows=3)
        new = of_version("2", captioned([*names(4), "x"]), failed([*names(2, first=4), "y"]))
        write(store, "r2", *new, rows=2)
        broken = FaultyStore(store, at=at, after=after)
        with contextlib.suppress(Crash):
            reconcile(Ledger(broken, tables=OMNI))
        present = [*versions_in(store, "captions"), *versions_in(store, "failures")]
        newest = {each: "2" for each in [*names(6), "x", "y"]} | {names(7)[6]: "1"}
        assert set(newest.items()) <= set(present), "a row that is newest was lost"

        reconcile(Ledger(store, tables=OMNI))
        present = [*versions_in(store, "captions"), *versions_in(store, "failures")]
        assert sorted(present) == sorted(newest.items())
        if not broken.broke:
            break
        crashes += 1
    assert crashes >= 3


def settings_in(store: TableStore, table: str) -> list[tuple[str, str]]:
    """Ids and hashes, "" where there is none."""
    pairs = []
    for path in files(store, table):
        rows = pq.read_table(pa.BufferReader(store.read_bytes(path)))
        pairs += [(row["video_id"], row["settings_hash"] or "") for row in rows.to_pylist()]
    return sorted(pairs)


def test_what_is_done_with_other_settings(store: TableStore) -> None:
    write(store, "r1", captioned(["unknown"]), rows=2)
    write(store, "r2", captioned(["a", "b"]), failed(["bad"]), settings="first")
    write(store, "r2", failed(["busy"], transient=True, attempts=2), settings="first")
    write(store, "r3", captioned(["c"]), failed(["bad too"]), settings="second")
    ledger = Ledger(store, tables=OMNI)
    everything = ["unknown", "a", "b", "bad", "busy", "c", "bad too"]

    def told(**options: Any) -> tuple[list[str], int, int]:
        earlier = ledger.load(retry_failed=False, **options)
        done = [each for each in everything if each in earlier.done]
        return done, earlier.other_settings, earlier.unknown_settings

    finished = ["unknown", "a", "b", "bad", "c", "bad too"]
    assert told() == (finished, 0, 0)
    # What is to be tried again anyway is in nobody's way.
    assert told(settings_hash="second") == (finished, 3, 1)
    assert told(settings_hash="first") == (finished, 2, 1)
    assert told(settings_hash="third") == (finished, 5, 1)
    part = results_table("part", captions=[caption("part")], failures=[failure("part")])
    write(store, "other", part, recipe="part", settings="first")
    parts = Ledger(store, tables=tables_of("part")).load(retry_failed=False, settings_hash="x")
    assert parts.other_settings == 1, "a video counts once"
    assert told(settings_hash="second", replace=True) == (["c", "bad too"], 0, 0)
    earlier = ledger.load(retry_failed=False, settings_hash="second", replace=True)
    assert [each for each in everything if each in earlier.replaced] == ["unknown", "a", "b"]
    assert earlier.attempts.find(["bad", "busy", "bad too"]).tolist() == [1, 2, -1]
    # Of two outcomes the newer one decides.
    write(store, "r4", captioned(["a"]), failed(["bad"], attempts=2), settings="second")
    done = ["a", "bad", "c", "bad too"]
    assert told(settings_hash="second", replace=True) == (done, 0, 0)
    reconcile(ledger)
    assert told(settings_hash="second", replace=True) == (done, 0, 0)
    assert told(settings_hash="second") == (finished, 1, 1)


@pytest.mark.parametrize(("before", "after"), [("1", False), ("1", True), (None, False)])
def test_replacing_survives_a_crash_at_every_step(
    tmp_path: Path, before: str | None, after: bool
) -> None:
    """Videos that are done again with other settings, also where they fail now."""
    crashes = 0
    for at in range(100):
        store = TableStore(tmp_path / str(at))
        write(store, "r1", captioned(names(7)), failed(["x", "y"]), rows=3, settings=before)
        again = captioned([*names(4), "x"]), failed([*names(2, first=4), "y"])
        write(store, "r2", *again, rows=2, settings="2")
        broken = FaultyStore(store, at=at, after=after)
        with contextlib.suppress(Crash):
            reconcile(Ledger(broken, tables=OMNI))
        newest = {each: "2" for each in [*names(6), "x", "y"]} | {names(7)[6]: before or ""}
        present = [*settings_in(store, "captions"), *settings_in(store, "failures")]
        assert set(newest.items()) <= set(present), "a row that is newest was lost"
        left = Ledger(store, tables=OMNI).load(retry_failed=False, settings_hash="2", replace=True)
        assert [each for each in newest if each not in left.done] == names(7)[6:]

        reconcile(Ledger(store, tables=OMNI))
        present = [*settings_in(store, "captions"), *settings_in(store, "failures")]
        assert sorted(present) == sorted(newest.items())
        assert ids_in(store, "failures") == [*names(2, first=4), "y"]
        if not broken.broke:
            break
        crashes += 1
    assert crashes >= 3


def test_tables_without_a_column_of_a_later_version(local: TableStore) -> None:
    write(local, "r1", captioned(["a", "b"]), failed(["c"]), settings="1")
    for path in files(local, ""):
        table = pq.read_table(pa.BufferReader(local.read_bytes(path)))
        local.write_table(path, table.drop_columns(["settings_hash"]))
    ledger = Ledger(local, tables=OMNI)
    earlier = ledger.load(retry_failed=False, settings_hash="1")
    assert (len(earlier.done), earlier.other_settings, earlier.unknown_settings) == (3, 0, 3)
    write(local, "r2", captioned(["a"]), settings="1")
    assert reconcile(ledger) == 1
    assert settings_in(local, "captions") == [("a", "1"), ("b", "")]


def test_stamps_tell_moved_from_changed() -> None:
    before = stamps(["/a", "/b", "/c", "/d", "https://h/e?sig=1"], ["1", "1", "1", None, "1"])
    now = stamps(["/a", "/b", "/x", "/d", "https://h/e?sig=2"], ["1", "2", "2", "2", "2"])
    assert has_changed(before, now).tolist() == [False, True, False, False, True]
    assert has_moved(before, now).tolist() == [False, False, True, False, False]
    nothing = np.full(5, -1)
    assert not has_changed(nothing, now).any() and not has_moved(nothing, now).any()
    assert (before >= 0).all()


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


def test_a_storage_that_breaks_a_third_of_requests(
    request: pytest.FixtureRequest, tmp_path: Path, fault_proxy: Any
) -> None:
    direct = open_store("gateway", request, tmp_path)
    proxy = fault_proxy(direct.options.endpoint_url, seed=5)
    kinds = ("slow_down", "reset", "reset_after", "cut", "cut_quietly")
    shares = dict.fromkeys(kinds, 0.07)
    proxy.break_requests(shares)
    options = direct.options.model_copy(update={"endpoint_url": proxy.endpoint_url, "retries": 15})
    shaky = TableStore(direct.url, options)
    write(shaky, "r1", captioned(names(8)), failed(names(2, first=8), transient=True), rows=4)
    write(shaky, "r2", captioned(names(1, first=8)))
    ledger = Ledger(shaky, tables=OMNI)
    assert reconcile(ledger) == 1
    done = ledger.load(retry_failed=False)
    assert (len(done.done), len(done.attempts)) == (9, 1)
    assert ids_in(direct, "captions") == names(9)
    assert ids_in(direct, "failures") == names(1, first=9)
    assert sum(proxy.counts[each] for each in kinds) > 10


def test_a_storage_that_never_answers_is_an_error_of_the_run(
    request: pytest.FixtureRequest, tmp_path: Path, fault_proxy: Any
) -> None:
    direct = open_store("moto", request, tmp_path)
    proxy = fault_proxy(direct.options.endpoint_url)
    proxy.break_requests({"reset": 1.0})
    options = direct.options.model_copy(update={"endpoint_url": proxy.endpoint_url, "retries": 1})
    dead = TableStore(direct.url, options)
    for use in (
        lambda: Ledger(dead, tables=OMNI).load(retry_failed=False),
        lambda: dead.write_bytes("a", b""),
        lambda: dead.exists("a"),
    ):
        with pytest.raises(OutputUnavailableError, match="no proper answer after 2 attempts"):
            use()


def test_a_storage_that_refuses_is_an_error_of_usage(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = open_store("gateway", request, tmp_path)
    with pytest.raises(UsageError, match="there is no bucket"):
        TableStore("s3://there-is-none/out", store.options).write_bytes("a", b"")
    stranger = TableStore(store.url, store.options.model_copy(update={"anonymous": True}))
    with pytest.raises(UsageError, match="cannot write"):
        stranger.write_bytes("a", b"")
    with pytest.raises(UsageError, match="cannot list"):
        Ledger(stranger, tables=OMNI).load(retry_failed=False)


def test_an_output_without_credentials_is_an_error_of_usage(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    new_clients: None,
) -> None:
    store = open_store("moto", request, tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(UsageError, match="no credentials"):
        store.write_bytes("a", b"")


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


def test_id_map_against_a_dict() -> None:
    draw = np.random.default_rng(1)
    pool = [f"v{number}" for number in range(150_000)]
    ids, expected = IdMap(), dict[str, int]()
    for _ in range(120):
        batch = [pool[n] for n in draw.integers(0, len(pool), draw.integers(0, 3000))]
        values = draw.integers(0, 1 << 62, len(batch))
        before = ids.add(batch, values)
        for each, value, had in zip(batch, values.tolist(), before.tolist(), strict=True):
            assert had == expected.get(each, -1)
            expected.setdefault(each, value)
    assert len(ids) == len(expected) > 65_536
    assert ids.find(pool).tolist() == [expected.get(each, -1) for each in pool]
    assert Counter(ids.values().tolist()) == Counter(expected.values())


def test_id_map_tells_ids_with_the_same_upper_half_apart() -> None:
    keys = np.array([[7, low] for low in (1, 2, 3, 9)] + [[8, 1]], dtype=np.uint64)
    ids = IdMap()
    ids.load(keys, np.arange(5))
    asked = np.array([[7, 3], [7, 4], [8, 1], [7, 10], [9, 0], [7, 1]], dtype=np.uint64)
    assert ids.find_keys(asked).tolist() == [2, -1, 4, -1, -1, 0]
    assert digests(["a"]).shape == (1, 2) and digests([]).shape == (0, 2)
