"""Edit lists of MP4 and MOV files, as far as FFmpeg does not follow them."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from actors.decoding.probe import Source
from actors.storage.range_reader import RangeReader

_MOST = 4096
"""Boxes in one box, and edits in one list, that are looked at."""

_NEXT_TO_NOTHING = 0.1

_WAY = (b"moov", b"trak", b"edts", b"elst")
_NORMAL_RATE = 1 << 16


def stands_still(reader: RangeReader) -> bool:
    """Whether an edit list stops in the middle, or plays at another speed than the ordinary one:
    FFmpeg plays something else there, and plays on.
    """
    # FFmpeg reads on from where it was.
    before = reader.tell()
    try:
        return any(
            _is_odd(reader, begin, end) for begin, end in _boxes(reader, _WAY, 0, reader.size)
        )
    finally:
        reader.seek(before)


def check_shown(source: Source, shown: int) -> None:
    """Warn where an edit list leaves next to nothing of the picture: mostly by a time scale that
    lies.

    Args:
        shown: how many frames are shown.
    """
    assert source.video is not None
    if shown < _NEXT_TO_NOTHING * source.video.frames:
        source.warn(f"the header counts {source.video.frames} frames and shows {shown}")


def _boxes(
    reader: RangeReader, way: tuple[bytes, ...], begin: int, end: int
) -> Iterator[tuple[int, int]]:
    """Where the contents of boxes begin and end, by the kinds of the boxes around them."""
    if not way:
        yield begin, end
        return
    for _ in range(_MOST):
        if begin + 8 > end:
            return
        reader.seek(begin)
        size, kind, large = struct.unpack(">I4sQ", reader.read(16).ljust(16, b"\0"))
        header, size = (16, large) if size == 1 else (8, size)
        if size < header:
            return
        if kind == way[0]:
            yield from _boxes(reader, way[1:], begin + header, min(begin + size, end))
        begin += size


def _is_odd(reader: RangeReader, begin: int, end: int) -> bool:
    """Whether a list has an edit without media behind its first, or of another rate than 1."""
    reader.seek(begin)
    version, count = struct.unpack(">B3xI", reader.read(8).ljust(8, b"\0"))
    layout = struct.Struct(">QqI" if version == 1 else ">IiI")
    data = reader.read(min(end - begin - 8, _MOST * layout.size))
    edits = layout.iter_unpack(data[: len(data) // layout.size * layout.size])
    return any(
        (media < 0 and number > 0) or (media >= 0 and rate != _NORMAL_RATE)
        for number, (_, media, rate) in enumerate(itertools.islice(edits, count))
    )
