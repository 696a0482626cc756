"""Many small ranges of one S3 object, over one signed URL.

A range request through s3fs costs about 3 ms of CPU, most of it for building, signing and
parsing. With a URL that is signed once, a plain HTTP request costs about a tenth, which is
what makes thousands of small ranges affordable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from fsspec.asyn import sync

from actors.storage.range_reader import Span

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CONCURRENT_REQUESTS = 16
"""Ranges in flight at once: hides a round trip of 20 ms behind 1 ms of work each."""

EXPIRES_SEC = 3600

Read = Callable[[int, int], Awaitable[bytes]]


class SignedObject:
    """Range reads of one object of an s3fs file system, past its request machinery.

    Args:
        filesystem: makes the signed URL.
        path: bucket and key.
        timeout_sec: wall time of one request.
    """

    def __init__(self, filesystem: AbstractFileSystem, path: str, *, timeout_sec: float) -> None:
        self._filesystem = filesystem
        self._path = path
        self._timeout_sec = timeout_sec
        self._url = ""

    def read(self, spans: Sequence[Span]) -> list[bytes | BaseException]:
        """Read ranges at the same time; an exception stands for each that failed."""
        answers: list[bytes | BaseException] = sync(self._filesystem.loop, self._read, spans)
        return answers

    async def _read(self, spans: Sequence[Span]) -> list[bytes | BaseException]:
        import aiohttp
        from yarl import URL

        if not self._url:
            self._url = await self._filesystem._url(self._path, expires=EXPIRES_SEC)
        # Encoded already; encoding it again would break the signature.
        url = URL(self._url, encoded=True)
        timeout = aiohttp.ClientTimeout(total=self._timeout_sec)
        connector = aiohttp.TCPConnector(limit=CONCURRENT_REQUESTS)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, trust_env=True, auto_decompress=False
        ) as session:

            async def read(start: int, stop: int) -> bytes:
                headers = {"Range": f"bytes={start}-{stop - 1}"}
                async with session.get(url, headers=headers) as response:
                    response.raise_for_status()
                    # Whole, where a server ignores the range: too long, and refused then.
                    return await response.read() if response.status == 206 else b""

            return await gather(read, spans, CONCURRENT_REQUESTS)


def refuses(answer: bytes | BaseException) -> bool:
    """Return whether an answer says that the signed URL does not work here at all."""
    status = getattr(answer, "status", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)


async def gather(
    read: Read, spans: Sequence[Span], concurrency: int
) -> list[bytes | BaseException]:
    """Read ranges, so many at a time; an exception stands for each that failed."""
    results: list[bytes | BaseException] = [b""] * len(spans)
    numbered = iter(enumerate(spans))

    async def work() -> None:
        for number, (start, stop) in numbered:
            try:
                results[number] = await read(start, stop)
            except Exception as error:
                results[number] = error

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return results
