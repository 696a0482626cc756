"""The ledger: which inputs earlier runs finished, read from the output itself.

There is no second book that could disagree with the tables. An input is done when
``captions`` holds it, or ``failures`` does with an error that is not transient. A video's
caption rows always share one shard, so one row proves them all; where captioning stopped
midway, the failure that says so is in the shard of the same name.

Shards are numbered in the order of their writing (``part-00012-89ab01ef.parquet``), over all
runs of a recipe: where two of them tell different stories of an input, the higher number is
newer. The rest of the name tells the shards of one process from another's.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rayjob.ids import IdMap, digests, has_changed, stamps
from rayjob.output.layout import ResultTables
from rayjob.output.store import Entry, Guard, TableStore
from schemas.errors import UsageError
from schemas.tables import CAPTIONS, FAILURES

_READERS = 8
"""Shards read at once: a year of nights is many thousands, and each costs requests."""

_U64 = npt.NDArray[np.uint64]
_I64 = npt.NDArray[np.int64]
_NO_KEYS: _U64 = np.empty((0, 2), dtype=np.uint64)
_NO_NUMBERS: _I64 = np.empty(0, dtype=np.int64)


class DoneIds:
    """Ids of inputs that need nothing more: captioned, or failed for good."""

    def __init__(self, ids: IdMap) -> None:
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._ids

    def stamps(self, video_ids: list[str]) -> _I64:
        """The :func:`rayjob.ids.stamps` each id was done with, -1 for one that is not done."""
        return self._ids.find(video_ids)


class Attempts:
    """How often earlier runs started the inputs that are to be tried again."""

    def __init__(self, ids: IdMap) -> None:
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, video_id: str) -> int:
        return self._ids.get(video_id) or 0

    def of(self, video_ids: list[str]) -> _I64:
        """Attempts so far, 0 for an id that never failed."""
        return np.maximum(self._ids.find(video_ids), 0)


@dataclass(frozen=True)
class _Rows:
    """What the ledger keeps of one shard: one element per video.

    Attributes:
        keys: hashes of the video ids, shape (N, 2).
        stamps: uris and versions, as :func:`rayjob.ids.stamps`, shape (N,).
        again: whether the next run tries the video again by itself, shape (N,).
        attempts: highest number of attempts, shape (N,).
    """

    keys: _U64
    stamps: _I64
    again: npt.NDArray[np.bool_]
    attempts: _I64

    def among(self, keys: _U64) -> npt.NDArray[np.bool_]:
        """Which of the videos are among these, shape (N,)."""
        found = IdMap()
        found.load(keys, np.zeros(len(keys), dtype=np.int64))
        return found.find_keys(self.keys) >= 0

    def without(self, keys: _U64) -> _Rows:
        """The other videos."""
        if not len(keys):
            return self
        kept = ~self.among(keys)
        return _Rows(self.keys[kept], self.stamps[kept], self.again[kept], self.attempts[kept])


class Ledger:
    """The rows of one recipe in an output, as facts about inputs.

    A shard is read once, and again only if it changes: what is kept of it takes 24 bytes per
    video.

    Args:
        store: the output folder.
        tables: of one recipe; the same input counts once per recipe.
    """

    def __init__(self, store: TableStore, *, tables: ResultTables) -> None:
        self._store = store
        self._captions = tables.captions
        self._failures = tables.failures
        self._attempts = Attempts(IdMap())
        self._known: dict[str, tuple[Entry, _Rows]] = {}

    def load(self, *, retry_failed: bool) -> DoneIds:
        """Read which inputs are done.

        The result takes 24 bytes per id, and about 80 while it is sorted.

        Args:
            retry_failed: failed inputs are not done.

        Raises:
            UsageError: a shard is damaged or has other columns than this version writes.
        """
        failures = list(self._read(self._failures))
        unfinished = {
            _shard_of(entry): rows.keys[rows.again | retry_failed] for entry, rows in failures
        }
        done = IdMap()
        captioned = [
            rows.without(unfinished.get(_shard_of(entry), _NO_KEYS))
            for entry, rows in self._read(self._captions)
        ]
        keys = np.concatenate([_NO_KEYS, *(rows.keys for rows in captioned)])
        values = np.concatenate([_NO_NUMBERS, *(rows.stamps for rows in captioned)])
        del captioned  # before the sorting, which takes as much again
        done.load(keys, values)
        del keys, values
        failed = _joined(rows for _, rows in failures)
        again = failed.again | retry_failed
        # The newest failure of an input decides; it comes first, and so it is the one kept.
        latest = IdMap()
        latest.load(failed.keys, np.arange(len(failed.keys)))
        kept = latest.values()
        final = kept[~again[kept]]
        done.load(failed.keys[final], failed.stamps[final])

        retried = kept[again[kept]]
        attempts = IdMap()
        attempts.load(failed.keys[retried], failed.attempts[retried])
        self._attempts = Attempts(attempts)
        return DoneIds(done)

    def attempts(self) -> Attempts:
        """Attempts so far of the failed inputs that :meth:`load` left to be tried again."""
        return self._attempts

    def present(self) -> IdMap:
        """Ids of all videos in either table, captioned or failed.

        Raises:
            UsageError: a shard is damaged or has other columns than this version writes.
        """
        present = IdMap()
        for folder in (self._captions, self._failures):
            parts = [rows.keys for _, rows in self._read(folder)]
            keys = np.concatenate([_NO_KEYS, *parts])
            present.load(keys, np.zeros(len(keys), dtype=np.int64))
        return present

    def reconcile(self, *, guard: Guard | None = None) -> int:
        """Make every input stand in one table once; how many videos' rows were removed.

        A failure goes when the input was captioned, or failed again, in another shard.
        Of captions in two shards (the input changed and was taken again, or a process was
        suspended, taken for dead, and then finished a write) the newer ones stay. Captions
        also go when the input then failed, if it had changed, or if they were only a part:
        such a video has a failure in the same shard. Each affected shard is replaced at
        once by one without those rows, or deleted where none are left; so a crash at any
        point leaves rows that the next call removes.

        Run it before :meth:`load` and before the run is marked as finished, under the lock.

        Args:
            guard: called before each change, such as :meth:`RunLock.check`.

        Raises:
            UsageError: a shard is damaged or has other columns than this version writes.
        """
        self._store.sweep()
        failures = list(self._read(self._failures))
        failed, failed_with = IdMap(), IdMap()  # video -> its newest failure's shard and stamp
        for index, (_, rows) in enumerate(failures):
            failed.load(rows.keys, np.full(len(rows.keys), index))
            failed_with.load(rows.keys, rows.stamps)
        failed_parts = np.array([entry.part for entry, _ in failures], dtype=np.int64)
        in_part = {_shard_of(entry): rows.keys for entry, rows in failures}

        captioned = IdMap()  # video -> number of the shard that keeps it
        shards: dict[str, int] = {}
        removed = 0
        for entry, rows in self._read(self._captions):
            number = shards.setdefault(_shard_of(entry), len(shards))
            gone = captioned.find_keys(rows.keys) >= 0
            failure = failed.find_keys(rows.keys)
            has_failed = np.flatnonzero(failure >= 0)
            is_newer = failed_parts[failure[has_failed]] > entry.part
            later = failed_with.find_keys(rows.keys[has_failed])
            incomplete = rows.among(in_part.get(_shard_of(entry), _NO_KEYS))[has_failed]
            gone[has_failed] |= is_newer & (
                has_changed(rows.stamps[has_failed], later) | incomplete
            )
            removed += self._remove(entry, CAPTIONS, rows.keys[gone], guard)
            captioned.load(rows.keys[~gone], np.full(int((~gone).sum()), number))

        for index, (entry, rows) in enumerate(failures):
            holder = captioned.find_keys(rows.keys)
            # Captions and failures of one shard number belong to one attempt: a video of
            # which a part failed keeps both.
            superseded = (holder >= 0) & (holder != shards.get(_shard_of(entry), -1))
            superseded |= failed.find_keys(rows.keys) != index
            removed += self._remove(entry, FAILURES, rows.keys[superseded], guard)
        return removed

    def _remove(self, entry: Entry, schema: pa.Schema, keys: _U64, guard: Guard | None) -> int:
        """Rewrite a shard without the rows of these videos."""
        if not len(keys):
            return 0
        gone = IdMap()
        gone.load(keys, np.zeros(len(keys), dtype=np.int64))
        self._known.pop(entry.path)
        table = _read_shard(self._store, entry, schema, columns=schema.names)
        ids = table.column("video_id").to_pylist()
        kept = table.filter(pa.array(gone.find(ids) < 0))
        if kept.num_rows:
            self._store.write_table(entry.path, kept, guard=guard)
        else:
            if guard is not None:
                guard()
            self._store.delete(entry.path)
        return len(gone)

    def _read(self, folder: str) -> Iterator[tuple[Entry, _Rows]]:
        """What the ledger needs of each shard in a folder, the newest shard first."""
        is_failures = folder == self._failures
        columns = ["video_id", "uri", "source_version"]
        columns += ["transient", "attempts"] if is_failures else []
        schema = FAILURES if is_failures else CAPTIONS

        def read(entry: Entry) -> tuple[Entry, _Rows]:
            known = self._known.get(entry.path)
            if known is None or known[0] != entry:
                table = _read_shard(self._store, entry, schema, columns=columns)
                known = self._known[entry.path] = entry, _rows_of(table)
            return known

        entries = sorted(
            self._store.list(folder, suffix=".parquet"),
            key=lambda entry: (entry.part, entry.modified),
            reverse=True,
        )
        with ThreadPoolExecutor(_READERS, thread_name_prefix="ledger") as pool:
            yield from pool.map(read, entries)


def _read_shard(
    store: TableStore, entry: Entry, schema: pa.Schema, *, columns: list[str]
) -> pa.Table:
    where = store.url_of(entry.path)
    try:
        with store.open_parquet(entry.path, size=entry.size) as file:
            found = {field.name: field.type for field in file.schema_arrow}
            if found == {field.name: field.type for field in schema}:
                return file.read(columns=columns)
    except FileNotFoundError as error:
        raise UsageError(f"{where} disappeared while it was read; start again") from error
    except PermissionError as error:
        raise UsageError(f"{where} may not be read: {error}") from error
    except (pa.ArrowException, OSError) as error:
        raise UsageError(
            f"{where} is damaged ({error}). Move it away and start again: what it held is "
            "then processed once more"
        ) from error
    differing = sorted(
        name
        for name in {*found, *schema.names}
        if name not in found or name not in schema.names or found[name] != schema.field(name).type
    )
    raise UsageError(
        f"{where} was written by another version: columns that differ: "
        f"{', '.join(differing)}. Choose another --output, or move the old tables away"
    )


def _rows_of(table: pa.Table) -> _Rows:
    """One element per video of a shard: its newest row's facts."""
    if "transient" not in table.column_names:
        ids = table.column("video_id").combine_chunks().dictionary_encode()
        _, first = np.unique(ids.indices.to_numpy(), return_index=True)
        table = table.take(pa.array(first))
        # Views of one element each: captions are many, and none of them is tried again.
        again = np.broadcast_to(np.bool_(False), table.num_rows)
        attempts = np.broadcast_to(np.int64(0), table.num_rows)
    else:
        # Several rows of one video in a shard are parts that failed in one attempt; it is
        # tried again when one of them is worth it.
        columns = {"uri": "first", "source_version": "first", "transient": "max", "attempts": "max"}
        table = table.group_by("video_id", use_threads=False).aggregate(list(columns.items()))
        table = table.rename_columns(["video_id", *columns])
        again = table.column("transient").to_numpy().astype(bool)
        attempts = table.column("attempts").to_numpy().astype(np.int64)
    return _Rows(
        keys=digests(table.column("video_id").to_pylist()),
        stamps=stamps(table.column("uri").to_pylist(), table.column("source_version").to_pylist()),
        again=again,
        attempts=attempts,
    )


def _joined(parts: Iterator[_Rows]) -> _Rows:
    rows = list(parts)
    return _Rows(
        keys=np.concatenate([_NO_KEYS, *(part.keys for part in rows)]),
        stamps=np.concatenate([_NO_NUMBERS, *(part.stamps for part in rows)]),
        again=np.concatenate([np.empty(0, bool), *(part.again for part in rows)]),
        attempts=np.concatenate([_NO_NUMBERS, *(part.attempts for part in rows)]),
    )


def _shard_of(entry: Entry) -> str:
    """``run_id=ID/part-00000-89ab01ef.parquet``: what a video's rows in both tables share."""
    return "/".join(entry.path.split("/")[-2:])
