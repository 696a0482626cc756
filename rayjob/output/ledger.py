"""The ledger: which inputs earlier runs finished, read from the output itself.

There is no second book that could disagree with the tables. An input is done when
``captions`` holds it, or ``failures`` does with an error that is not transient. A video's
caption rows always share one shard, so one row proves them all; where captioning stopped
midway, the failure that says so is in the shard of the same name.

Shards are numbered in the order of their writing (``part-00012-epoch0007.parquet``), over all
runs of a captioning: where two of them tell different stories of an input, the higher number is
newer, and of equal numbers the higher epoch (see :mod:`rayjob.output.commits`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rayjob.ids import Earlier, IdMap, fingerprints, has_changed, stamps
from rayjob.ids.hashing import digests
from rayjob.output.commits import Commit, commit, newest_lists, next_part_of, revisions
from rayjob.output.layout import ResultTables, rewritten
from rayjob.output.lock import RunLock
from rayjob.output.store import Entry, TableStore
from schemas.errors import UsageError
from schemas.tables import FAILURES

_READERS = 8
"""Shards read at once: a year of nights is many thousands, and each costs requests."""

_U64 = npt.NDArray[np.uint64]
_I64 = npt.NDArray[np.int64]
_NO_KEYS: _U64 = np.empty((0, 2), dtype=np.uint64)
_NO_NUMBERS: _I64 = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class _Rows:
    """What the ledger keeps of one shard: one element per video.

    Attributes:
        keys: hashes of the video ids, shape (N, 2).
        stamps: uris and versions, as :func:`rayjob.ids.stamps`, shape (N,).
        settings: the settings' hashes as :func:`_number`, shape (N,).
        again: whether the next run tries the video again by itself, shape (N,).
        attempts: highest number of attempts, shape (N,).
    """

    keys: _U64
    stamps: _I64
    settings: _I64
    again: npt.NDArray[np.bool_]
    attempts: _I64

    @classmethod
    def joined(cls, parts: Iterable[_Rows]) -> _Rows:
        """The rows of all parts, in their order."""
        columns = [vars(part).values() for part in (_NO_ROWS, *parts)]
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def where(self, chosen: npt.NDArray[np.bool_]) -> _Rows:
        """Some of the videos."""
        return self if chosen.all() else _Rows(*(each[chosen] for each in vars(self).values()))

    def videos(self) -> int:
        """How many different ones there are."""
        ids = IdMap()
        ids.load(self.keys, self.stamps)
        return len(ids)

    def among(self, keys: _U64) -> npt.NDArray[np.bool_]:
        """Which of the videos are among these, shape (N,)."""
        if not len(keys):
            return np.zeros(len(self.keys), dtype=bool)
        found = IdMap()
        found.load(keys, np.zeros(len(keys), dtype=np.int64))
        return found.find_keys(self.keys) >= 0


_NO_ROWS = _Rows(
    keys=_NO_KEYS,
    stamps=_NO_NUMBERS,
    settings=_NO_NUMBERS,
    again=np.empty(0, dtype=bool),
    attempts=_NO_NUMBERS,
)


class Ledger:
    """The rows of one captioning or split in an output, as facts about inputs.

    A shard is read once, and again only if it changes: what is kept of it takes 24 bytes per
    video.

    Args:
        store: the output folder.
        tables: of one captioning; the same input counts once per captioning.
    """

    def __init__(self, store: TableStore, *, tables: ResultTables) -> None:
        self._store = store
        self._tables = tables
        self._known: dict[str, tuple[Entry, _Rows]] = {}

    def load(
        self, *, retry_failed: bool, settings_hash: str | None = None, replace: bool = False
    ) -> Earlier:
        """Read which inputs are done.

        The result takes 24 bytes per id, and about 100 while it is sorted.

        Args:
            retry_failed: failed inputs are not done.
            settings_hash: of this run, to compare the rows' with; None compares nothing.
            replace: inputs that were done with other settings, or with unknown ones, are not done.

        Raises:
            UsageError: a shard is damaged or has other columns than this version writes.
        """
        own = _number(settings_hash)

        def differs(rows: _Rows) -> npt.NDArray[np.bool_]:
            return np.asarray((rows.settings != own) & (settings_hash is not None))

        failures = list(self._read(self._tables.failures))
        unfinished = {
            _shard_of(entry): rows.keys[rows.again | retry_failed] for entry, rows in failures
        }
        captioned, replaced = list[_Rows](), list[_Rows]()
        for entry, rows in self._read(self._tables.captions):
            kept = rows.where(~rows.among(unfinished.get(_shard_of(entry), _NO_KEYS)))
            other = differs(kept) & replace
            captioned.append(kept.where(~other))
            replaced.append(kept.where(other))
        failed = _Rows.joined(rows for _, rows in failures)
        again = failed.again | retry_failed | (differs(failed) & replace)
        # The newest failure of an input decides; it comes first, and so it is the one kept.
        latest = IdMap()
        latest.load(failed.keys, np.arange(len(failed.keys)))
        is_latest = np.zeros(len(failed.keys), dtype=bool)
        is_latest[latest.values()] = True
        final = failed.where(is_latest & ~again)
        retried = failed.where(is_latest & again)

        rows = _Rows.joined([*captioned, final])
        del captioned  # before the sorting, which takes as much again
        differing = rows.where(differs(rows))
        earlier = Earlier(
            other_settings=differing.where(differing.settings > 0).videos(),
            unknown_settings=differing.where(differing.settings == 0).videos(),
        )
        earlier.done.load(rows.keys, rows.stamps)
        for rows in replaced:
            earlier.replaced.load(rows.keys, rows.stamps)
        earlier.attempts.load(retried.keys, retried.attempts)
        return earlier

    def present(self, counting: Commit) -> IdMap:
        """Ids of all videos in the shards of a list, captioned or failed.

        Raises:
            UsageError: a shard is gone, is damaged or has other columns than this version
                writes.
        """
        present, found = IdMap(), set[str]()
        for folder in (self._tables.captions, self._tables.failures):
            for entry, rows in self._read(folder):
                if entry.path in counting.paths:
                    found.add(entry.path)
                    present.load(rows.keys, np.zeros(len(rows.keys), dtype=np.int64))
        if missing := counting.paths - found:
            raise UsageError(f"{self._store.url_of(min(missing))} disappeared; start again")
        return present

    def reconcile(self, lock: RunLock) -> Commit:
        """Make every input stand in one table once, and list the shards that count.

        A failure goes when the input was captioned, or failed again, in another shard.
        Of captions in two shards (the input was taken again because it or the settings had
        changed, or a process was suspended, taken for dead, and then finished a write) the newer
        ones stay. Captions also go when the input then failed, if it or the settings had
        changed, or if they were only a part: such a video has a failure in the same shard.
        Each affected shard is written again without those rows, under the name of the lock's
        epoch; then the list is published, and only then the old shards are deleted. So a
        reader who goes by the newest list finds all that it names, and a crash at any point
        leaves rows that the next call removes.

        Run it before :meth:`load` and before the run is marked as finished, each time in an
        epoch of its own.

        Returns:
            The list.

        Raises:
            LockLostError: another run took the output over.
            UsageError: a shard is damaged or has other columns than this version writes.
        """
        self._store.sweep()
        outdated = list[Entry]()
        standing: dict[str, list[str]] = {"captions": [], "failures": []}
        next_part = next_part_of(self._store, self._tables)

        def settle(entry: Entry, schema: pa.Schema, gone: _U64) -> None:
            path = self._without(entry, schema, gone, lock) if len(gone) else entry.path
            if path is not None:
                standing["failures" if schema is FAILURES else "captions"].append(path)
            if path != entry.path:
                outdated.append(entry)

        failures = list(self._read(self._tables.failures, outdated))
        failed = IdMap()  # video -> the index of its newest failure's shard
        stamp_of, settings_of = IdMap(), IdMap()  # and what that failure is about
        for index, (_, rows) in enumerate(failures):
            failed.load(rows.keys, np.full(len(rows.keys), index))
            stamp_of.load(rows.keys, rows.stamps)
            settings_of.load(rows.keys, rows.settings)
        failed_parts = np.array([entry.name.part for entry, _ in failures], dtype=np.int64)
        in_part = {_shard_of(entry): rows.keys for entry, rows in failures}

        captioned = IdMap()  # video -> number of the shard that keeps it
        shards: dict[str, int] = {}
        for entry, rows in self._read(self._tables.captions, outdated):
            number = shards.setdefault(_shard_of(entry), len(shards))
            gone = captioned.find_keys(rows.keys) >= 0
            failure = failed.find_keys(rows.keys)
            at = np.flatnonzero(failure >= 0)
            is_newer = failed_parts[failure[at]] > entry.name.part
            is_other = has_changed(rows.stamps[at], stamp_of.find_keys(rows.keys[at]))
            settings = settings_of.find_keys(rows.keys[at])
            is_other |= (settings > 0) & (settings != rows.settings[at])
            is_other |= rows.among(in_part.get(_shard_of(entry), _NO_KEYS))[at]
            gone[at] |= is_newer & is_other
            settle(entry, self._tables.rows, rows.keys[gone])
            captioned.load(rows.keys[~gone], np.full(int((~gone).sum()), number))

        for index, (entry, rows) in enumerate(failures):
            holder = captioned.find_keys(rows.keys)
            # Captions and failures of one shard number belong to one attempt: a video of
            # which a part failed keeps both.
            superseded = (holder >= 0) & (holder != shards.get(_shard_of(entry), -1))
            superseded |= failed.find_keys(rows.keys) != index
            settle(entry, FAILURES, rows.keys[superseded])

        counting = Commit(
            lock.epoch,
            captions=tuple(sorted(standing["captions"])),
            failures=tuple(sorted(standing["failures"])),
            next_part=next_part,
        )
        commit(self._store, self._tables, counting, guard=lock.check)
        for entry in outdated:
            lock.check()
            self._store.delete(entry.path)
            self._known.pop(entry.path, None)
        return counting

    def _without(self, entry: Entry, schema: pa.Schema, keys: _U64, lock: RunLock) -> str | None:
        """Write a shard again without the rows of these videos; None where none are left."""
        gone = IdMap()
        gone.load(keys, np.zeros(len(keys), dtype=np.int64))
        table = _read_shard(self._store, entry, schema, columns=schema.names)
        kept = table.filter(pa.array(gone.find(table.column("video_id")) < 0))
        if not kept.num_rows:
            return None
        path = rewritten(entry.path, lock.epoch)
        self._store.write_table(path, kept, guard=lock.check, once=True)
        return path

    def _read(
        self, folder: str, outdated: list[Entry] | None = None
    ) -> Iterator[tuple[Entry, _Rows]]:
        """What the ledger needs of each shard in a folder, the newest shard first.

        Args:
            outdated: to be extended by the files whose place others have taken.
        """
        is_failures = folder == self._tables.failures
        columns = ["video_id", "uri", "source_version", "settings_hash"]
        columns += ["transient", "attempts"] if is_failures else []
        schema = FAILURES if is_failures else self._tables.rows

        def read(entry: Entry) -> tuple[Entry, _Rows]:
            known = self._known.get(entry.path)
            if known is None or known[0] != entry:
                table = _read_shard(self._store, entry, schema, columns=columns)
                known = self._known[entry.path] = entry, _rows_of(table)
            return known

        lists = newest_lists(self._store)
        entries, others = revisions(self._store.list(folder, suffix=".parquet"), lists)
        if outdated is not None:
            outdated += others
        entries.sort(key=lambda each: (each.name.part, each.name.made, each.modified), reverse=True)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="ledger") as pool:
            yield from pool.map(read, entries)


def _read_shard(
    store: TableStore, entry: Entry, schema: pa.Schema, *, columns: list[str]
) -> pa.Table:
    """Columns of a shard; null where an earlier version did not write them."""
    where = store.url_of(entry.path)
    try:
        with store.open_parquet(entry.path, size=entry.size) as file:
            found = {field.name: field.type for field in file.schema_arrow}
            missing = [each for each in schema if each.name not in found and each.nullable]
            expected = {field.name: field.type for field in schema if field not in missing}
            if found == expected:
                table = file.read(columns=[name for name in columns if name in found])
                nulls = {each.name: pa.nulls(table.num_rows, each.type) for each in missing}
                for name in columns:
                    if name in nulls:
                        table = table.append_column(schema.field(name), nulls[name])
                return table.select(columns)
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
        name for name in {*found, *expected} if found.get(name) != expected.get(name)
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
        columns = dict.fromkeys(("uri", "source_version", "settings_hash"), "first")
        columns |= {"transient": "max", "attempts": "max"}
        table = table.group_by("video_id", use_threads=False).aggregate(list(columns.items()))
        table = table.rename_columns(["video_id", *columns])
        again = table.column("transient").to_numpy().astype(bool)
        attempts = table.column("attempts").to_numpy().astype(np.int64)
    return _Rows(
        keys=digests(table.column("video_id")),
        stamps=stamps(table.column("uri"), table.column("source_version")),
        settings=_settings_of(table),
        again=again,
        attempts=attempts,
    )


def _settings_of(table: pa.Table) -> _I64:
    hashes = table.column("settings_hash").combine_chunks().dictionary_encode("encode")
    numbers = np.array([_number(text) for text in hashes.dictionary.to_pylist()], dtype=np.int64)
    # Nearly always one, and a view of it is enough.
    if len(numbers) == 1:
        return np.broadcast_to(numbers[0], table.num_rows)
    chosen: _I64 = numbers[hashes.indices.to_numpy()]
    return chosen


def _number(settings_hash: str | None) -> int:
    """A hash of settings as a positive number; 0 where it is not known."""
    return 0 if settings_hash is None else int(fingerprints([settings_hash])[0]) or 1


def _shard_of(entry: Entry) -> str:
    """``run_id=ID/part-00000-epoch0007``: what a video's rows in both tables share."""
    return f"{entry.path.split('/')[-2]}/{entry.name.stem}"
