"""The ledger where a video's content changed, or the settings that it is captioned with."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayjob.output.ledger import Ledger
from rayjob.output.store import TableStore
from schemas.tables import results_table
from tests.support.outputs import (
    EPOCH,
    OMNI,
    Crash,
    FaultyStore,
    caption,
    captioned,
    failed,
    failure,
    files,
    ids_in,
    names,
    reconcile,
    tables_of,
    write,
)


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
