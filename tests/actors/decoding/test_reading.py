"""What is read follows from what requests, bytes and waiting cost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from actors.decoding.reading import ReadingCosts
from actors.storage.range_reader import MAX_REQUEST_BYTES
from schemas.media import StorageOptions

MB = 1 << 20


def spans(ranges: list[tuple[int, int]], **prices: float) -> list[tuple[int, int]]:
    starts, stops = np.array(ranges, dtype=np.int64).reshape(-1, 2).T
    return ReadingCosts.of(StorageOptions.model_validate(prices)).spans(starts, stops - starts)


def test_a_gap_is_read_where_a_request_costs_more() -> None:
    needed = [(0, MB), (2 * MB, 3 * MB)]
    assert spans(needed) == [(0, 3 * MB)]
    assert spans(needed, usd_per_gb=0.02) == needed
    assert spans(needed, usd_per_gb=0.02, usd_per_1000_requests=0.1) == [(0, 3 * MB)]


def test_a_gap_that_saves_no_request_is_skipped() -> None:
    needed = [(0, MAX_REQUEST_BYTES), (MAX_REQUEST_BYTES + MB, MAX_REQUEST_BYTES + 2 * MB)]
    assert spans(needed) == needed


@pytest.mark.parametrize("prices", [{}, {"usd_per_gb": 1.0}, {"usd_per_cpu_hour": 0.0}])
def test_everything_needed_is_read_once(prices: dict[str, float]) -> None:
    chance = np.random.default_rng(0)
    starts = chance.integers(0, 500 * MB, 300)
    needed = [(int(start), int(start + size)) for start, size in
              zip(starts, chance.integers(1, 3 * MB, 300), strict=True)]  # fmt: skip
    found = spans(needed, **prices)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found))
    for start, stop in needed:
        assert any(begin <= start and stop <= end for begin, end in found)
    costs = ReadingCosts.of(StorageOptions.model_validate(prices))
    assert sum(costs.span(*each) for each in found) <= sum(costs.span(*each) for each in needed)


def test_sound_between_frames_is_one_stretch() -> None:
    """A few hundred bytes after every frame: requests for each would cost most of all."""
    starts = np.arange(0, 80 * MB, 8_000)
    dear = ReadingCosts.of(StorageOptions(usd_per_gb=1.0))
    assert dear.spans(starts, np.full(len(starts), 300)) == [(0, int(starts[-1]) + 300)]


def test_nothing_needed() -> None:
    assert spans([]) == []
