"""What reading costs, and so which bytes to ask for: gaps are read where that is cheaper."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.storage.range_reader import MAX_REQUEST_BYTES, MIN_REQUEST_BYTES, Span
from schemas.media import StorageOptions

REQUEST_SEC = 0.02
"""A round trip to S3 in the same region, in which an actor's CPU mostly waits."""

BYTES_PER_SEC = 50e6
"""What one connection to S3 brings while an actor's CPU waits."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ReadingCosts:
    """What the storage and the waiting cost, in USD.

    Attributes:
        request: of one request, before its first byte.
        byte: of one byte more.
    """

    request: float
    byte: float

    @classmethod
    def of(cls, prices: StorageOptions) -> ReadingCosts:
        """Costs at the prices that are set."""
        second = prices.usd_per_cpu_hour / 3600
        return cls(
            request=prices.usd_per_1000_requests / 1000 + REQUEST_SEC * second,
            byte=prices.usd_per_gb / 1e9 + second / BYTES_PER_SEC,
        )

    def span(self, start: int, stop: int) -> float:
        """Cost of a range, in as many requests as it takes."""
        return (
            math.ceil((stop - start) / MAX_REQUEST_BYTES) * self.request
            + (stop - start) * self.byte
        )

    def spans(self, starts: Ints, sizes: Ints) -> list[Span]:
        """Return ranges that hold all of the given ones, at about the lowest cost.

        Gaps below the smallest request are always closed: FFmpeg reads through those.

        Args:
            starts, sizes: the ranges that are needed, shape (N,), in any order.

        Returns:
            Sorted and disjoint ranges.
        """
        if len(starts) == 0:
            return []
        order = np.argsort(starts, kind="stable")
        begins = starts[order]
        ends = np.maximum.accumulate(begins + sizes[order])
        cuts = np.flatnonzero(begins[1:] - ends[:-1] > MIN_REQUEST_BYTES)
        merged: list[Span] = []
        for start, stop in zip(
            begins[[0, *(cuts + 1)]].tolist(), ends[[*cuts, -1]].tolist(), strict=True
        ):
            if merged:
                joined = (merged[-1][0], stop)
                if self.span(*joined) <= self.span(*merged[-1]) + self.span(start, stop):
                    merged[-1] = joined
                    continue
            merged.append((start, stop))
        return merged


LIST_PRICES = ReadingCosts.of(StorageOptions())
"""S3 in the same region."""
