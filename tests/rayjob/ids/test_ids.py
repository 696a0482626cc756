"""Maps from ids to numbers, and stamps of what an input held."""

from __future__ import annotations

from collections import Counter

import numpy as np

from rayjob.ids import IdMap, has_changed, has_moved, stamps
from rayjob.ids.hashing import digests


def test_stamps_tell_moved_from_changed() -> None:
    before = stamps(["/a", "/b", "/c", "/d", "https://h/e?sig=1"], ["1", "1", "1", None, "1"])
    now = stamps(["/a", "/b", "/x", "/d", "https://h/e?sig=2"], ["1", "2", "2", "2", "2"])
    assert has_changed(before, now).tolist() == [False, True, False, False, True]
    assert has_moved(before, now).tolist() == [False, False, True, False, False]
    nothing = np.full(5, -1)
    assert not has_changed(nothing, now).any() and not has_moved(nothing, now).any()
    assert (before >= 0).all()


def test_id_map_against_a_dict() -> None:
    draw = np.random.default_rng(1)
    pool = [f"v{number}" for number in range(150_000)]
    ids, expected = IdMap(), dict[str, int]()
    for _ in range(120):
        batch = [pool[n] for n in draw.integers(0, len(pool), draw.integers(0, 3000))]
        values = draw.integers(0, 1 << 62, len(batch))
        before = ids.add(batch, values)
        for each, value, had in zip(batch, values.tolist(), before.tolist(), strict=True):
            assert had == expected.get(each, -1)
            expected.setdefault(each, value)
    assert len(ids) == len(expected) > 65_536
    assert ids.find(pool).tolist() == [expected.get(each, -1) for each in pool]
    assert Counter(ids.values().tolist()) == Counter(expected.values())


def test_id_map_tells_ids_with_the_same_upper_half_apart() -> None:
    keys = np.array([[7, low] for low in (1, 2, 3, 9)] + [[8, 1]], dtype=np.uint64)
    ids = IdMap()
    ids.load(keys, np.arange(5))
    asked = np.array([[7, 3], [7, 4], [8, 1], [7, 10], [9, 0], [7, 1]], dtype=np.uint64)
    assert ids.find_keys(asked).tolist() == [2, -1, 4, -1, -1, 0]
    assert digests(["a"]).shape == (1, 2) and digests([]).shape == (0, 2)
