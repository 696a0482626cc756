"""A file-like view of one stored object that reads only the ranges it is asked for."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

Span = tuple[int, int]
"""Half-open byte range ``[start, stop)``."""

WHOLE_FILE_BYTES = 1 << 20
"""Up to here one request for everything is cheaper than any plan."""

MIN_REQUEST_BYTES = 64 << 10
"""First read at a new place: an ``moov`` box or a key frame's beginning, not more."""

MAX_REQUEST_BYTES = 4 << 20
"""Largest request: at 50 MB/s it takes as long as four round trips of 20 ms."""

CACHE_BYTES = 64 << 20
"""What is kept of the bytes that were read, so that short files are fetched once."""


Fetch = Callable[[int, int], bytes]
"""Called with a range's first byte and the one after its last; returns just these."""


class RangeReader(io.RawIOBase):
    """Read, seek and tell over range requests, with a small cache and a count.

    The size of a request follows from what is known: inside a range announced with
    :meth:`expect` a miss fetches to the range's end; elsewhere a first miss fetches
    64 KiB, and reading on from there doubles that up to 4 MiB; no less than what is asked
    for, up to 4 MiB. ``read`` may return fewer bytes than asked for before the end, as raw
    files do; with ``io.BufferedReader`` around it, which may be unbuffered, it does not.

    Args:
        fetch: where the bytes come from.
        size: size of the object in bytes.
        name: the file's name, for messages and for FFmpeg's guess at the format.
        whole_file_bytes: a file up to this size is fetched with the first read.
        cache_bytes: how much is kept.
        on_close: called once by ``close``.

    Attributes:
        bytes_read: bytes asked of the storage so far.
        requests: requests made so far.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        size: int,
        name: str,
        whole_file_bytes: int = WHOLE_FILE_BYTES,
        cache_bytes: int = CACHE_BYTES,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        self.name = name
        self.bytes_read = 0
        self.requests = 0
        self._fetch = fetch
        self._whole_file_bytes = whole_file_bytes
        self._cache = _SpanCache(cache_bytes)
        self._expected: list[Span] = []
        self._position = 0
        self._window = MIN_REQUEST_BYTES
        self._fetched_to = -1
        self._on_close = on_close

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; a position past the end reads as the end of the file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("position before the start of the file")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes; fewer at the end, and where a cached range ends."""
        if size < 0:
            size = self.size - self._position
        if size == 0 or self._position >= self.size:
            return b""
        data = self._cache.get(self._position, size)
        if data is None:
            small = self.size <= self._whole_file_bytes and self._cache.used == 0
            start = 0 if small else self._position
            stop = self.size if small else self._request_end(start, size)
            chunk = self._fetch(start, stop)
            self.bytes_read += len(chunk)
            self.requests += 1
            self._cache.put(start, chunk)
            self._fetched_to = stop
            data = chunk[self._position - start :][:size]
        self._position += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """Read as :meth:`read` does, into a writable buffer of bytes; returns how many."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def expect(self, spans: Sequence[Span]) -> None:
        """Announce which ranges will be read, sorted and disjoint; replaces earlier ones."""
        self._expected = list(spans)

    def close(self) -> None:
        """Free the cache and what the bytes came from."""
        if not self.closed and self._on_close is not None:
            self._on_close()
        self._cache = _SpanCache(0)
        super().close()

    def _request_end(self, start: int, size: int) -> int:
        at = bisect_right(self._expected, (start, self.size + 1)) - 1
        if at >= 0 and start < self._expected[at][1]:
            stop = min(self._expected[at][1], start + MAX_REQUEST_BYTES)
        else:
            sequential = start == self._fetched_to and not self._expected
            self._window = (
                min(self._window * 2, MAX_REQUEST_BYTES) if sequential else MIN_REQUEST_BYTES
            )
            stop = start + max(self._window, min(size, MAX_REQUEST_BYTES))
        return min(stop, self.size, self._cache.next_start(start))


class _SpanCache:
    """Non-overlapping byte ranges; the oldest go when there are too many bytes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self._starts: list[int] = []
        self._chunks: dict[int, bytes] = {}

    def get(self, start: int, size: int) -> bytes | None:
        """Return up to ``size`` bytes at ``start``, or None."""
        at = bisect_right(self._starts, start) - 1
        if at < 0:
            return None
        chunk = self._chunks[self._starts[at]]
        skip = start - self._starts[at]
        return chunk[skip : skip + size] if skip < len(chunk) else None

    def next_start(self, position: int) -> int:
        """Return where the first chunk after ``position`` begins (far away if none)."""
        at = bisect_right(self._starts, position)
        return self._starts[at] if at < len(self._starts) else 1 << 62

    def put(self, start: int, chunk: bytes) -> None:
        """Keep a chunk that overlaps no other."""
        if len(chunk) > self.capacity:
            return
        self._starts.insert(bisect_right(self._starts, start), start)
        self._chunks[start] = chunk
        self.used += len(chunk)
        while self.used > self.capacity:
            oldest = next(iter(self._chunks))
            self.used -= len(self._chunks.pop(oldest))
            del self._starts[bisect_right(self._starts, oldest) - 1]
