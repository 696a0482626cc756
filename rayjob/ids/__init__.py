"""Large sets of video ids in little memory: 128-bit hashes in sorted arrays.

About 24 bytes per id, where a set of strings takes 150 or more. Two of a billion ids
collide with a probability below 1e-20. What earlier runs did with each id is told in such sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.storage.uris import public_uri
from rayjob.ids.hashing import digests

_RECENT = 1 << 16

_MANY = 1024
"""Ids that are worth a run of their own."""

_CONTENT = (1 << 31) - 1
"""The bits of a stamp that stand for the content."""

_PUBLIC = r"^(s3:/)?/[^@#?:]*$"
"""Addresses that are their own public form, as nearly all are."""

_U64 = npt.NDArray[np.uint64]
_I64 = npt.NDArray[np.int64]
Texts: TypeAlias = "pa.Array | pa.ChunkedArray | Iterable[str | None]"


def fingerprints(texts: Texts) -> _I64:
    """63-bit hashes that fit the values of an :class:`IdMap`, shape (N,), int64, positive."""
    return (digests(texts)[:, 0] >> np.uint64(1)).astype(np.int64)


def stamps(uris: Texts, versions: Texts) -> _I64:
    """Where inputs are and which content they have, as one positive number each, shape (N,).

    The upper 32 bits are a hash of the uri, the lower 31 one of the version, 0 where it is
    unknown. A change goes unnoticed with a probability of 1 in 2 billion.
    """
    known = _column(versions)
    content = np.maximum(fingerprints(known) >> 32, 1)
    content[known.is_null().to_numpy(zero_copy_only=False)] = 0
    stamps: _I64 = (places(uris) & ~_CONTENT) | content
    return stamps


def places(uris: Texts) -> _I64:
    """:func:`fingerprints` of where inputs are: the same for an address that is signed anew."""
    written = _column(uris)
    if not pc.all(pc.match_substring_regex(written, _PUBLIC)).as_py():
        written = pa.array(map(public_uri, written.to_pylist()), pa.large_string())
    return fingerprints(written)


def _column(texts: Texts) -> pa.Array:
    if isinstance(texts, pa.ChunkedArray):
        return texts.combine_chunks()
    return texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())


def has_moved(before: _I64, now: _I64) -> npt.NDArray[np.bool_]:
    """Which inputs are elsewhere; ``before`` may be -1 for one that was not there."""
    is_moved: npt.NDArray[np.bool_] = (before >= 0) & ((before ^ now) > _CONTENT)
    return is_moved


def has_changed(before: _I64, now: _I64) -> npt.NDArray[np.bool_]:
    """Which inputs have another content in the same place; False where it is unknown."""
    known = (before >= 0) & (before & _CONTENT > 0) & (now & _CONTENT > 0)
    is_changed: npt.NDArray[np.bool_] = known & (before != now) & ~has_moved(before, now)
    return is_changed


@dataclass(frozen=True)
class _Run:
    """Keys, each once and sorted by (high, low), and their values."""

    high: _U64
    low: _U64
    values: _I64

    @classmethod
    def of(cls, keys: _U64, values: _I64) -> _Run:
        """Of equal keys the first given one stays."""
        high, low = keys.T
        order = np.argsort(high, kind="stable")
        highs = high[order]
        if not (highs[1:] == highs[:-1]).any():
            return cls(highs, low[order], values[order])
        order = np.lexsort((low, high))
        high, low = high[order], low[order]
        first = np.ones(len(high), dtype=bool)
        first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        return cls(high[first], low[first], values[order[first]])

    def merged(self, later: _Run) -> _Run:
        keys = np.concatenate([np.stack([run.high, run.low], axis=1) for run in (self, later)])
        return _Run.of(keys, np.concatenate([self.values, later.values]))

    def find(self, keys: _U64) -> _I64:
        """Values of the keys, -1 where a key is not there."""
        # In their order: the neighbourhood of the last one is in the processor's cache.
        pending = np.argsort(keys[:, 0])
        position = np.empty(len(keys), dtype=np.int64)
        position[pending] = np.searchsorted(self.high, keys[pending, 0])
        out = np.full(len(keys), -1, dtype=np.int64)
        # Two ids that share the upper 64 bits stand side by side: look at the neighbours
        # until the upper half differs. Nearly always one round.
        while len(pending):
            pending = pending[position[pending] < len(self.high)]
            at = position[pending]
            same_high = self.high[at] == keys[pending, 0]
            pending, at = pending[same_high], at[same_high]
            hit = self.low[at] == keys[pending, 1]
            out[pending[hit]] = self.values[at[hit]]
            pending = pending[~hit]
            position[pending] += 1
        return out


class IdMap:
    """A mapping of video ids to whole numbers from 0, that only grows."""

    def __init__(self) -> None:
        self._recent: dict[bytes, int] = {}
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        return len(self._recent) + sum(len(run.high) for run in self._runs)

    def __contains__(self, video_id: object) -> bool:
        return isinstance(video_id, str) and self.get(video_id) is not None

    def get(self, video_id: str) -> int | None:
        """The id's number, None for an id that is not there."""
        value = int(self.find([video_id])[0])
        return None if value < 0 else value

    def find(self, ids: Texts) -> _I64:
        """Numbers of many ids, -1 where an id is not there; much faster than one by one."""
        return self.find_keys(digests(ids))

    def values(self) -> _I64:
        """The numbers of all ids, in no particular order."""
        self._compact()
        return np.concatenate([np.empty(0, np.int64), *(run.values for run in self._runs)])

    def find_keys(self, keys: _U64) -> _I64:
        """As :meth:`find`, for :func:`digests`."""
        out = np.full(len(keys), -1, dtype=np.int64)
        for run in self._runs:
            missing = out < 0
            out[missing] = run.find(keys[missing])
        if self._recent:
            raw = keys.tobytes()
            for index in np.flatnonzero(out < 0):
                out[index] = self._recent.get(raw[16 * index : 16 * index + 16], -1)
        return out

    def add(self, ids: Texts, values: Sequence[int] | _I64 | None = None) -> _I64:
        """Add the ids that are new; ids that are there keep their number.

        Returns:
            shape (N,): -1 for an id that was new, else the number it had. An id given
            twice is new once.
        """
        keys = digests(ids)
        before = self.find_keys(keys)
        if len(keys) >= _MANY:
            given = np.zeros(len(keys), np.int64) if values is None else np.asarray(values)
            new = np.flatnonzero(before < 0)
            first = _Run.of(keys[new], new)
            self._push(_Run(first.high, first.low, given[first.values]))
            again = np.setdiff1d(new, first.values, assume_unique=True)
            before[again] = given[first.find(keys[again])]
            return before
        raw = keys.tobytes()
        for index in np.flatnonzero(before < 0):
            key = raw[16 * index : 16 * index + 16]
            had = self._recent.get(key)
            if had is None:
                self._recent[key] = 0 if values is None else int(values[index])
            else:  # it came earlier in `ids`
                before[index] = had
        if len(self._recent) >= _RECENT:
            self._compact()
        return before

    def load(self, keys: _U64, values: _I64) -> None:
        """Add many :func:`digests` at once; of equal keys the first stays."""
        self._compact()
        if self._runs:
            new = self.find_keys(keys) < 0
            keys, values = keys[new], values[new]
        self._push(_Run.of(keys, values))

    def _compact(self) -> None:
        if self._recent:
            keys = np.frombuffer(b"".join(self._recent), np.uint64).reshape(-1, 2)
            values = np.fromiter(self._recent.values(), dtype=np.int64, count=len(self._recent))
            self._recent = {}
            self._push(_Run.of(keys, values))

    def _push(self, run: _Run) -> None:
        # Runs at least double in size from last to first, so there are few of them and
        # each id is merged only a few times.
        while self._runs and len(self._runs[-1].high) < 2 * len(run.high):
            run = self._runs.pop().merged(run)
        if len(run.high):
            self._runs.append(run)


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What earlier runs of a captioning did, by the ids of their inputs.

    Attributes:
        done: inputs that need nothing more, captioned or failed for good, with the
            :func:`stamps` they were done with.
        replaced: inputs that are captioned with other settings and are to be taken again.
        attempts: failed inputs that are to be tried again, and how often they were tried.
        other_settings: inputs among ``done`` that were done with other settings than this run's.
        unknown_settings: inputs among ``done`` of which that is not known.
    """

    done: IdMap = field(default_factory=IdMap)
    replaced: IdMap = field(default_factory=IdMap)
    attempts: IdMap = field(default_factory=IdMap)
    other_settings: int = 0
    unknown_settings: int = 0
