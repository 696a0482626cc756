"""Rows, outputs and child processes for the tests of the output folder."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayjob.ids import IdMap
from rayjob.output.commits import Commit
from rayjob.output.layout import ResultTables
from rayjob.output.ledger import Ledger
from rayjob.output.shards import ShardSink
from rayjob.output.store import TableStore
from schemas.config import ShardConfig
from schemas.media import StorageOptions
from schemas.tables import RESULTS, CaptionRow, FailureRow, results_table

KINDS = ("local", "moto", "gateway")
tables_of = ResultTables.named
OMNI = tables_of("omni")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

children = multiprocessing.get_context("forkserver")
"""Real processes that start in milliseconds: forked from one that imported the packages."""
children.set_forkserver_preload(
    ["tests.support.outputs", "rayjob.output.shards", "rayjob.inputs.todo", "s3fs"]
)


def open_store(kind: str, request: pytest.FixtureRequest, folder: Path) -> TableStore:
    """An empty output of one of KINDS; its root has a space and a sign S3 must quote."""
    if kind == "local":
        return TableStore(folder / "out put+1")
    bucket = request.getfixturevalue(f"{kind}_bucket")
    server = request.getfixturevalue("gateway").endpoint_url
    url = request.getfixturevalue("moto_url") if kind == "moto" else server
    return TableStore(f"s3://{bucket}/out put+1", StorageOptions(endpoint_url=url))


def caption(video: str, **changes: Any) -> CaptionRow:
    values: dict[str, Any] = {
        "video_id": video,
        "uri": f"s3://videos/{video}",
        "level": "video",
        "index": 0,
        "start_sec": 0.0,
        "end_sec": 2.5,
        "caption": f"This is {video}.",
        "caption_status": "ok",
        "attempts": 1,
        "prompt_tokens": 100,
        "output_tokens": 20,
        "duration_sec": 2.5,
        "fps": 25.0,
        "width": 64,
        "height": 48,
        "num_frames": 32,
        "has_audio": True,
        "model": "tiny",
        "model_revision": None,
        "prompt_hash": "0123456789abcdef",
        "metadata": None,
    }
    return CaptionRow(**{**values, **changes})


def failure(video: str, **changes: Any) -> FailureRow:
    values: dict[str, Any] = {
        "video_id": video,
        "uri": f"s3://videos/{video}",
        "stage": "open",
        "error": "NotAVideoError",
        "message": "Invalid data found",
        "transient": False,
        "attempts": 1,
        "metadata": None,
    }
    return FailureRow(**{**values, **changes})


def captioned(ids: Iterable[str]) -> pa.Table:
    """Results of videos with one caption each."""
    return together(results_table(each, captions=[caption(each)]) for each in ids)


def failed(ids: Iterable[str], **changes: Any) -> pa.Table:
    """Results of videos that failed."""
    return together(results_table(each, failures=[failure(each, **changes)]) for each in ids)


def together(tables: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables([RESULTS.empty_table(), *tables])


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


def names(count: int, *, first: int = 0) -> list[str]:
    return [f"clips/v{number:06d}.mp4" for number in range(first, first + count)]


def ids_in(store: TableStore, table: str) -> list[str]:
    """Every row's video_id, read file by file as they lie there; sorted."""
    found: list[str] = []
    for entry in store.list(table):
        data = pq.read_table(pa.BufferReader(store.read_bytes(entry.path)), columns=["video_id"])
        found += data.column("video_id").to_pylist()
    return sorted(found)


def files(store: TableStore, folder: str) -> list[str]:
    return [entry.path for entry in store.list(folder)]


class Unlocked:
    """In place of a RunLock where a test has no rival.

    Args:
        epoch: to begin with.
    """

    def __init__(self, epoch: int = 1) -> None:
        self.epoch = epoch

    def advance(self) -> None:
        self.epoch += 1

    def check(self) -> None:
        pass


NO_LOCK: Any = Unlocked()


def settled(ledger: Ledger, lock: Any = NO_LOCK) -> Commit:
    """Bring the tables to agree, in an epoch of its own."""
    lock.advance()
    return ledger.reconcile(lock)


def reconcile(ledger: Ledger) -> int:
    """As :func:`settled`; how many rows of the tables went."""
    folders = ledger._tables.captions, ledger._tables.failures

    def rows() -> int:
        return sum(len(ids_in(ledger._store, folder)) for folder in folders)

    before = rows()
    settled(ledger)
    return before - rows()


def present_in(ledger: Ledger) -> IdMap:
    """The videos in the tables, once they agree."""
    return ledger.present(settled(ledger))


class FaultyStore(TableStore):
    """Breaks the n-th change of the output, before or after it took effect.

    What follows it fails too, as after the end of a process.
    """

    def __init__(self, store: TableStore, *, at: int, after: bool) -> None:
        super().__init__(store.root if store.is_local else store.url, store.options)
        self._left, self._after, self.broke = at, after, False

    def write_bytes(self, path: str, data: bytes, **options: Any) -> None:
        self._change(lambda: super(FaultyStore, self).write_bytes(path, data, **options))

    def delete(self, path: str) -> None:
        self._change(lambda: super(FaultyStore, self).delete(path))

    def _change(self, change: Any) -> None:
        if self.broke:
            raise Crash
        self._left -= 1
        self.broke = self._left < 0
        if not self.broke or self._after:
            change()
        if self.broke:
            raise Crash


class Crash(BaseException):
    """The process ends here."""


def child(target: Any, *arguments: Any) -> Any:
    """Start a function in a process of its own, with this process's environment."""
    process = children.Process(target=_with_env, args=(dict(os.environ), target, arguments))
    process.start()
    return process


def _with_env(env: dict[str, str], target: Any, arguments: Sequence[Any]) -> None:
    os.environ.clear()
    os.environ.update(env)
    target(*arguments)
