"""Which videos are shown: those whose seeded hash is smallest.

The choice depends on seed and video id alone, not on the order of rows or files, so that
it is the same again tomorrow, and in two runs over the same videos it is the same videos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

_T = TypeVar("_T")


def ranks(video_ids: Iterable[str], seed: int) -> npt.NDArray[np.uint64]:
    """A number for each id, uniform over uint64; the smallest are taken first."""
    joined = b"".join(
        blake2b(f"{seed}\0{each}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for each in video_ids
    )
    return np.frombuffer(joined, dtype=np.uint64)[::2]


class Smallest(Generic[_T]):
    """The ``size`` ids of smallest rank among all that were offered, each with a value.

    Offered twice, an id counts once and keeps its first value.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._kept: dict[str, tuple[int, _T]] = {}
        self._bound = np.uint64(np.iinfo(np.uint64).max)

    def offer(self, values: Mapping[str, _T]) -> None:
        """Take those that belong; ``values`` are by id."""
        if not self._size:
            return
        ids, rank = [*values], ranks(values, self._seed)
        for index in np.flatnonzero(rank <= self._bound):
            self._kept.setdefault(ids[index], (int(rank[index]), values[ids[index]]))
        if len(self._kept) >= self._size:
            order = sorted(self._kept.items(), key=lambda item: item[1][0])[: self._size]
            self._kept = dict(order)
            self._bound = np.uint64(order[-1][1][0])

    def items(self) -> dict[str, _T]:
        """Id -> value, smallest rank first."""
        order = sorted(self._kept.items(), key=lambda item: item[1][0])
        return {video_id: value for video_id, (_, value) in order}
