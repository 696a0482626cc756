"""Segments that show what a segment of another video shows already, over the whole output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.storage.segments import part_of
from rayjob.output.commits import shards
from rayjob.output.layout import ResultTables
from rayjob.output.rejecting import rejecting
from rayjob.output.store import TableStore

_COLUMNS = ["video_id", "start_sec", "end_sec", "phash", "duplicate_of"]
_HASHES = 3
_LENGTH = 0.05
_LENGTH_SEC = 0.2
"""How much two segments that show the same may differ in length: by the larger of this share and
this time."""


class Duplicates:
    """The segments so far, by their perceptual hashes: 40 bytes and an id for each.

    Each is compared with all, some 20 million a second; of several alike the first stays. Those
    of one video are not compared with each other: a dialogue goes back and forth.

    Args:
        store, tables: the output, whose segments are known from the start.
        bits: in which each hash of two that show the same may differ, of 64.

    Raises:
        UsageError: a shard cannot be read.
    """

    def __init__(self, store: TableStore, tables: ResultTables, bits: int) -> None:
        self._bits = bits
        self._ids: list[str] = []
        self._videos: list[str] = []
        self._hashes = np.empty((1024, _HASHES), dtype=np.uint64)
        self._seconds = np.empty(1024)
        for entry in shards(store, tables.captions):
            for row in store.read_table(entry, _COLUMNS).to_pylist():
                self._add(row)

    def marked(self, results: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The same tables of :data:`schemas.tables.SPLITS`, with ``duplicate_of`` filled in; such
        segments are not kept.
        """
        return rejecting(results, self._reason)

    def _reason(self, segment: dict[str, Any]) -> str | None:
        original = segment["duplicate_of"] = self._find(segment)
        self._add(segment)
        return None if original is None else f"shows what {original} shows"

    def _find(self, segment: dict[str, Any]) -> str | None:
        if segment["phash"] is None or not self._ids:
            return None
        count, seconds = len(self._ids), segment["end_sec"] - segment["start_sec"]
        apart = np.bitwise_count(self._hashes[:count] ^ _numbers(segment["phash"]))
        near = (apart <= self._bits).all(axis=1)
        room = max(_LENGTH_SEC, _LENGTH * seconds)
        near &= np.abs(self._seconds[:count] - seconds) <= room
        others = (at for at in np.flatnonzero(near) if self._videos[at] != segment["video_id"])
        at = next(others, None)
        return None if at is None else self._ids[at]

    def _add(self, segment: dict[str, Any]) -> None:
        if segment["phash"] is None or segment["duplicate_of"] is not None:
            return
        at = len(self._ids)
        if at == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.empty_like(self._hashes)])
            self._seconds = np.concatenate([self._seconds, np.empty_like(self._seconds)])
        self._hashes[at] = _numbers(segment["phash"])
        self._seconds[at] = segment["end_sec"] - segment["start_sec"]
        self._videos.append(segment["video_id"])
        self._ids.append(part_of(segment["video_id"], segment["start_sec"], segment["end_sec"]))


def _numbers(phash: str) -> npt.NDArray[np.uint64]:
    return np.array([int(phash[at : at + 16], 16) for at in (0, 16, 32)], dtype=np.uint64)
