"""128-bit hashes of many texts at once, without a step of Python for each.

Multilinear hashing (Lemire and Kaser, "Strongly universal string hashing is fast", 2014): a text
is a row of 32-bit words, and a hash the upper half of their sum, modulo 2**64, with a random factor
for each. The factors are drawn anew in each process, so that nobody can choose texts that collide;
a hash means nothing in another process.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_U64 = npt.NDArray[np.uint64]

_LONGEST = 1024
"""Bytes of a text; of a longer one a digest is hashed."""

_ROWS = 1 << 15
"""Rows at once, so that they stay in the processor's cache."""

_HALF = np.uint64(32)
_MASKS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF], dtype=np.uint64)
_FACTORS: _U64 = np.random.default_rng(secrets.randbits(128)).integers(
    0, 1 << 64, size=(_LONGEST // 4 + 2, 4), dtype=np.uint64
)


def digests(texts: pa.Array | pa.ChunkedArray | Iterable[str]) -> _U64:
    """128-bit hashes, shape (N, 2), uint64; of null as of ""."""
    if not isinstance(texts, (pa.Array, pa.ChunkedArray)):
        texts = pa.array(texts, pa.large_string())
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    return np.concatenate([np.empty((0, 2), np.uint64), *map(_digests, chunks)])


def _digests(texts: pa.Array) -> _U64:
    texts = pc.fill_null(texts, "").cast(pa.large_binary())
    is_long = pc.greater(pc.binary_length(texts), _LONGEST)
    if pc.any(is_long).as_py():
        short = [
            blake2b(each).digest().ljust(_LONGEST, b"\0") if len(each) > _LONGEST else each
            for each in texts.to_pylist()
        ]
        texts = pa.array(short, pa.large_binary())
    _, offsets, data = texts.buffers()
    if not len(texts):
        return np.empty((0, 2), np.uint64)
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    first, last = int(bounds[0]), int(bounds[-1])
    held = np.zeros(last - first + 4, np.uint8)
    if last > first:
        held[:-4] = np.frombuffer(data, np.uint8)[first:last]
    # The four bytes from each byte on.
    words = np.ndarray(last - first + 1, "<u4", buffer=held, strides=(1,))
    bounds = bounds - first
    return np.concatenate(
        [
            _of_words(words, bounds[begin : begin + _ROWS + 1])
            for begin in range(0, len(texts), _ROWS)
        ]
    )


def _of_words(words: npt.NDArray[np.uint32], bounds: npt.NDArray[np.int64]) -> _U64:
    begins, lengths = bounds[:-1], np.diff(bounds)
    sums = _FACTORS[0][:, None] + _FACTORS[1][:, None] * lengths.astype(np.uint64)
    for number in range(-(-int(lengths.max()) // 4)):
        left = lengths - 4 * number
        rows: slice | npt.NDArray[np.int64] = slice(None)
        if left.min() <= 0:
            rows = np.flatnonzero(left > 0)
        word = words[begins[rows] + 4 * number] & _MASKS[np.minimum(left[rows], 4)]
        for lane, factor in zip(sums, _FACTORS[number + 2], strict=True):
            lane[rows] += factor * word
    sums >>= _HALF
    return np.stack([sums[0] << _HALF | sums[1], sums[2] << _HALF | sums[3]], axis=1)
