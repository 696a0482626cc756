"""The segments that a split kept, as inputs: ``OUT/segments``, or ``OUT/segments/split=NAME``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from actors.storage.segments import fragment_of, part_of
from actors.storage.uris import local_path, split_segment
from rayjob.inputs.manifests import Input
from rayjob.output.commits import shards
from rayjob.output.store import TableStore
from schemas.media import StorageOptions

_TABLE = re.compile(r"(.*?)/?(segments(?:/split=[^/]+)?)/*")
_COLUMNS = ["video_id", "uri", "start_sec", "end_sec", "metadata", "source_version", "kept"]


def kept_segments(where: str, storage: StorageOptions) -> Iterator[Input] | None:
    """The segments of a table that are kept, each a part of its file, in the order of the table;
    None where there is no such table.

    Raises:
        UsageError: a shard cannot be read.
        OutputUnavailableError: the storage failed in spite of retries.
    """
    rows = _rows(where, storage, _COLUMNS)
    return None if rows is None else (_input(row) for row in rows if row["kept"])


def folders_of(where: str, storage: StorageOptions) -> set[str]:
    """The local folders whose videos a table of segments is about: those that were the inputs of
    its splits. Raises as :func:`kept_segments`.
    """
    folders = set()
    for row in _rows(where, storage, ["video_id", "uri"]) or ():
        path = local_path(row["uri"])
        if path is not None:
            own = split_segment(row["video_id"])[0]
            folders.add(os.path.dirname(path.removesuffix(own).rstrip("/") + "/"))
    return folders


def _rows(
    where: str, storage: StorageOptions, columns: list[str]
) -> Iterator[dict[str, Any]] | None:
    found = _TABLE.fullmatch(where)
    if found is None:
        return None
    root, folder = found.groups()
    store = TableStore(root or ("/" if where.startswith("/") else "."), storage)
    entries = [entry for entry in shards(store, folder) if "/split=" in f"/{entry.path}"]
    if not entries:
        return None
    return (row for entry in entries for row in store.read_table(entry, columns).to_pylist())


def _input(row: dict[str, Any]) -> Input:
    begin, end = row["start_sec"], row["end_sec"]
    return Input(
        part_of(row["video_id"], begin, end),
        row["uri"] + fragment_of(begin, end),
        metadata=row["metadata"],
        source_version=row["source_version"],
    )
