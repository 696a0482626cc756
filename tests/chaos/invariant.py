"""Every input stands in exactly one table, once: by the newest list, and by a plain read."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from rayjob.output.commits import newest_lists
from rayjob.output.store import TableStore


def listed(store: TableStore) -> list[str]:
    """The ids of all rows in the shards that count by the newest lists."""
    while True:
        with contextlib.suppress(FileNotFoundError):  # a newer list came in this moment
            lists = newest_lists(store).values()
            return _ids(store, [path for made in lists for path in made.paths])


def read_plainly(store: TableStore) -> list[str]:
    """The ids of all rows in whatever shards lie there."""
    folders = ("captions", "failures")
    return _ids(store, [entry.path for folder in folders for entry in store.list(folder)])


def twice(ids: Iterable[str]) -> str:
    """Which ids come more than once; "" where none does."""
    return _few([each for each, count in Counter(ids).items() if count > 1])


def difference(ids: Iterable[str], expected: Sequence[str]) -> str:
    """Which ids are missing and which are too many; "" where each is there once."""
    found, wanted = Counter(ids), Counter(expected)
    told = {"missing": wanted - found, "too many": found - wanted}
    return "; ".join(f"{how}: {_few(list(some))}" for how, some in told.items() if some)


def _ids(store: TableStore, paths: Iterable[str]) -> list[str]:
    found = list[str]()
    for path in paths:
        data = pa.BufferReader(store.read_bytes(path))
        found += pq.read_table(data, columns=["video_id"])["video_id"].to_pylist()
    return found


def _few(ids: Sequence[str]) -> str:
    return f"{len(ids)}, such as {', '.join(sorted(ids)[:5])}" if ids else ""
