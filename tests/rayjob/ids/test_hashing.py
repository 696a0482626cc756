"""Hashes of texts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa

from rayjob.ids.hashing import digests

TEXTS = [
    "", "\0", "a", "a\0", "a\0\0\0", "b", "ab", "é", "s3://bucket/a.mp4", "s3://bucket/b.mp4",
    *("x" * length for length in (3, 4, 5, 1023, 1024, 1025, 9000)),
]  # fmt: skip


def test_different_texts_have_different_hashes() -> None:
    hashes = digests(TEXTS)
    assert (hashes.shape, hashes.dtype) == ((len(TEXTS), 2), np.uint64)
    assert len({*map(tuple, hashes.tolist())}) == len(TEXTS)
    many = digests(f"video-{number:07d}.mp4" for number in range(200_000))
    assert all(len(np.unique(half)) == len(many) for half in many.T)
    # Each bit is as often set as not.
    assert abs(np.unpackbits(many.view(np.uint8)).mean() - 0.5) < 0.001


def test_a_hash_depends_on_the_text_alone() -> None:
    expected = digests(TEXTS)
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        column = pa.array(TEXTS).cast(kind) if kind != pa.string() else pa.array(TEXTS)
        assert (digests(column) == expected).all()
        assert (digests(column.slice(3, 7)) == expected[3:10]).all()
    assert (digests(pa.chunked_array([TEXTS[:4], TEXTS[4:]])) == expected).all()
    assert (digests(pa.array([None, "a"])) == expected[[0, 2]]).all()
    assert digests([]).shape == (0, 2)


def test_nobody_can_know_them_beforehand() -> None:
    code = "from rayjob.ids.hashing import digests; print(digests(['a']))"
    said = {subprocess.check_output([sys.executable, "-c", code]) for _ in range(2)}
    assert len(said) == 2
