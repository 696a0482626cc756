"""A stored file as a seekable one."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any


def range_file(fetch: Callable[[int, int], bytes], *, size: int) -> io.RawIOBase:
    """A file whose parts are fetched when they are read.

    Args:
        fetch: called with the first byte and the one after the last; returns just these.
        size: bytes of the file.
    """
    return _RangeFile(fetch, size=size)


class _RangeFile(io.RawIOBase):
    def __init__(self, fetch: Callable[[int, int], bytes], *, size: int) -> None:
        self._fetch, self._size = fetch, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        stop = min(self._position + len(buffer), self._size)
        data = self._fetch(self._position, stop)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
