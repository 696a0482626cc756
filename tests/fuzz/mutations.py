"""Ways to damage a file, drawn by a seed: blind ones, and ones that aim at lengths and counts."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_HEAD_BYTES = 4096
"""Most containers keep what they say of themselves here, or as far from the end."""

_EXTREMES = (0, 1, 2, 7, 8, 255, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, -1)

_TAG = re.compile(rb"[A-Za-z][A-Za-z0-9 ]{3}")
"""What MP4 puts behind the length of a box, and RIFF in front of that of a chunk."""

_ELEMENT = re.compile(
    rb"\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x15\x49\xa9\x66|\x16\x54\xae\x6b|\x1f\x43\xb6\x75"
    rb"|\x1c\x53\xbb\x6b|[\xae\xa3\xa0\xe0\xe1]|\x63\xa2|\x23\xe3\x83|\x2a\xd7\xb1"
)
"""Identifiers of Matroska, which come before a length."""


@dataclass(frozen=True)
class Damaged:
    """A file to be decoded: its name, its bytes, and how it came to be."""

    name: str
    data: bytes
    story: str


def damaged(chance: random.Random, corpus: Mapping[str, bytes]) -> Damaged:
    """Draw a file and damage it, mostly once.

    Args:
        corpus: whole files, by name.
    """
    name = chance.choice(list(corpus))
    data, told = bytearray(corpus[name]), []
    if chance.random() < 0.1:
        other = chance.choice(list(corpus))
        data = _spliced(chance, data, corpus[other])
        told.append(f"spliced with {other}")
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8)) - len(told)):
        damage = chance.choice(_DAMAGES)
        data = damage(chance, data) if data else data
        told.append(damage.__name__.strip("_"))
    return Damaged(name, bytes(data), f"{name}: {', '.join(told)}")


def _spliced(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    """The beginning of one, the end of the other."""
    return data[: _place(chance, data)] + other[chance.randrange(len(other)) :]


def _flipped_bits(chance: random.Random, data: bytearray) -> bytearray:
    for _ in range(chance.choice((1, 2, 8, 64))):
        data[_place(chance, data)] ^= 1 << chance.randrange(8)
    return data


def _zeroed(chance: random.Random, data: bytearray) -> bytearray:
    start, stop = _range(chance, data)
    data[start:stop] = bytes(stop - start)
    return data


def _noisy(chance: random.Random, data: bytearray) -> bytearray:
    start, stop = _range(chance, data)
    data[start:stop] = chance.randbytes(stop - start)
    return data


def _removed(chance: random.Random, data: bytearray) -> bytearray:
    start, stop = _range(chance, data)
    return data[:start] + data[stop:]


def _repeated(chance: random.Random, data: bytearray) -> bytearray:
    start, stop = _range(chance, data)
    return data[:start] + data[start:stop] * chance.choice((2, 3, 20)) + data[stop:]


def _swapped(chance: random.Random, data: bytearray) -> bytearray:
    a, b, c, d = sorted(_place(chance, data) for _ in range(4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _cut_off(chance: random.Random, data: bytearray) -> bytearray:
    return data[: _place(chance, data)]


def _extreme_number(chance: random.Random, data: bytearray) -> bytearray:
    return _with_extreme(chance, data, _place(chance, data), chance.choice((1, 2, 3, 4, 8)))


def _extreme_length(chance: random.Random, data: bytearray) -> bytearray:
    """Of a box, a chunk or an element."""
    aims = [at for tag in _TAG.finditer(data) for at in (tag.start() - 4, tag.end())]
    aims += [element.end() for element in _ELEMENT.finditer(data)]
    return _with_extreme(chance, data, max(0, chance.choice(aims or [0])), chance.choice((4, 8, 1)))


def _extreme_field(chance: random.Random, data: bytearray) -> bytearray:
    """A number in the first bytes of a box: versions, counts, sizes of tables, durations."""
    tags = [tag.end() for tag in _TAG.finditer(data)]
    at = chance.choice(tags or [0]) + 4 * chance.randrange(8)
    return _with_extreme(chance, data, at, chance.choice((2, 4, 4, 8)))


def _with_extreme(chance: random.Random, data: bytearray, at: int, size: int) -> bytearray:
    number = chance.choice(_EXTREMES) % (1 << 8 * size)
    data[at : at + size] = number.to_bytes(size, chance.choice(("big", "little")))
    return data


_DAMAGES: tuple[Callable[[random.Random, bytearray], bytearray], ...] = (
    _flipped_bits, _zeroed, _noisy, _removed, _repeated, _swapped, _cut_off,
    _extreme_number, _extreme_length, _extreme_length, _extreme_field, _extreme_field,
)  # fmt: skip


def _place(chance: random.Random, data: bytearray) -> int:
    """Anywhere, or near one of the ends."""
    last, near = len(data) - 1, min(len(data), _HEAD_BYTES) - 1
    kind = chance.randrange(3)
    if kind == 0:
        return chance.randint(0, last)
    return chance.randint(0, near) if kind == 1 else last - chance.randint(0, near)


def _range(chance: random.Random, data: bytearray) -> tuple[int, int]:
    start = _place(chance, data)
    return start, min(len(data), start + chance.choice((1, 4, 16, 188, 1024, len(data) // 3 + 1)))
