"""Which shards count: lists of shards in which each key stands once.

The tables are brought to agree when a run starts and when it ends. Each time takes an
**epoch**, a number above all before, which nobody else has: a shard carries in its name the
epoch in which it was written, and the list of the shards that count is written under it,
before what they supersede is deleted. Nothing that carries an epoch is ever replaced, so a
write that lands late, of a process that lost the output meanwhile, changes neither a shard nor
the newest list: it adds a file of an old epoch that is not listed.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

from rayjob.output.layout import ResultTables
from rayjob.output.store import Entry, Guard, TableStore
from schemas.errors import LockLostError, UsageError

_FOLDER = "runs/_epochs"


@dataclass(frozen=True)
class Commit:
    """The shards of one captioning that count.

    Attributes:
        captions, failures: paths from the root of the output.
        next_part: above the numbers of all shards so far, also of those that are gone.
    """

    epoch: int
    captions: tuple[str, ...]
    failures: tuple[str, ...]
    next_part: int

    @cached_property
    def paths(self) -> frozenset[str]:
        """All of them."""
        return frozenset([*self.captions, *self.failures])

    def to_json(self) -> bytes:
        """As it is stored."""
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    def is_late(self, entry: Entry) -> bool:
        """Whether a shard was superseded, or landed, when its epoch was over."""
        epoch = entry.name.epoch
        return epoch is not None and epoch <= self.epoch and entry.path not in self.paths


def claim(store: TableStore, *, guard: Guard) -> int:
    """Take an epoch.

    Args:
        guard: called before each change, such as :meth:`RunLock.check`.

    Raises:
        LockLostError: another process takes one in this moment.
    """
    known = _known(store)
    epoch = 1 + max((number for number, _, _ in known), default=0)
    own = f"{_FOLDER}/{epoch:08d}.{secrets.token_hex(6)}.claim"
    store.write_bytes(own, b"", guard=guard, once=True)
    # Of two that claim at once, the one whose file came up last sees the other's.
    if any(number >= epoch and entry.path != own for number, _, entry in _known(store)):
        raise LockLostError(f"another run takes over {store.url}; start again")
    for _, name, entry in known:
        if name is None:
            guard()
            store.delete(entry.path)
    return epoch


def commit(store: TableStore, tables: ResultTables, made: Commit, *, guard: Guard) -> None:
    """Publish a list in place of the earlier ones of the same captioning."""
    before = [entry for _, name, entry in _known(store) if name == tables.name]
    path = f"{_FOLDER}/{made.epoch:08d}.{tables.name}.json"
    store.write_bytes(path, made.to_json(), guard=guard, once=True)
    for entry in before:
        guard()
        store.delete(entry.path)


def shards(store: TableStore, folder: str) -> list[Entry]:
    """The shards below ``folder`` that count, sorted by path.

    These are the listed ones and, of a run that has not finished, those written since; also
    those of other writers, and all where there is no list. What a run that crashed or is at
    work takes again may stand in two of them.

    Args:
        folder: a table, such as ``captions``, or a part of one.

    Raises:
        UsageError: the storage refuses, or a list is damaged.
        OutputUnavailableError: the storage failed in spite of retries.
    """
    lists = newest_lists(store)
    current, _ = revisions(store.list(folder, suffix=".parquet"), lists)
    return [entry for entry in current if not _is_late(entry, lists)]


def next_part_of(store: TableStore, tables: ResultTables) -> int:
    """The number of the next shard.

    Numbers grow over all runs of a captioning, so that of two shards the one with the higher
    number is newer, whatever the workers' clocks say.
    """
    listed = newest_lists(store).get(tables.name)
    numbers = [
        entry.name.part + 1
        for folder in (tables.captions, tables.failures)
        for entry in store.list(folder, suffix=".parquet")
    ]
    return max([*numbers, 0 if listed is None else listed.next_part])


def revisions(
    entries: Iterable[Entry], lists: Mapping[str, Commit]
) -> tuple[list[Entry], list[Entry]]:
    """The file of each shard that counts or may come to count, and what else is left of it."""
    by_shard: dict[str, list[Entry]] = {}
    for entry in entries:
        shard = f"{entry.path.rpartition('/')[0]}/{entry.name.stem}"
        by_shard.setdefault(shard, []).append(entry)
    for files in by_shard.values():
        files.sort(key=lambda entry: (not _is_late(entry, lists), entry.name.epoch or 0))
    return [files[-1] for files in by_shard.values()], [
        entry for files in by_shard.values() for entry in files[:-1]
    ]


def newest_lists(store: TableStore) -> dict[str, Commit]:
    """The newest list of each captioning that has one, by :attr:`ResultTables.name`."""
    while True:
        newest = {name: entry for _, name, entry in _known(store) if name is not None}
        with contextlib.suppress(FileNotFoundError):  # a newer one came in this moment
            return {name: _read(store, entry) for name, entry in newest.items()}


def _is_late(entry: Entry, lists: Mapping[str, Commit]) -> bool:
    made = lists.get(ResultTables.name_in(entry.path))
    return made is not None and made.is_late(entry)


def _known(store: TableStore) -> list[tuple[int, str | None, Entry]]:
    """Epochs, ascending, with what is stored for each: a list of shards with the captioning's
    name, or a claim with None.
    """
    known = []
    for entry in store.list(_FOLDER):
        number, _, rest = entry.path.rpartition("/")[2].partition(".")
        if number.isdecimal():
            name = rest.removesuffix(".json") if rest.endswith(".json") else None
            known.append((int(number), name, entry))
    return known


def _read(store: TableStore, entry: Entry) -> Commit:
    try:
        told = json.loads(store.read_bytes(entry.path))
        return Commit(
            int(told["epoch"]),
            captions=tuple(told["captions"]),
            failures=tuple(told["failures"]),
            next_part=int(told["next_part"]),
        )
    except (ValueError, TypeError, LookupError, RecursionError):
        raise UsageError(
            f"{store.url_of(entry.path)} is damaged. Delete it: the next run writes it anew"
        ) from None
