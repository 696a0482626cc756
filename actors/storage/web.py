"""Files of web servers: read by range, or whole from a server that sends no ranges."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from actors.storage.client import Client, Head
from actors.storage.places import guarded_session
from actors.storage.uris import display_uri
from schemas.errors import OpenError, StorageUnavailableError

_WHOLE_TIMES = 10
"""A whole file may take so many times as long as one request, all its attempts together."""

_CHUNK = 1 << 20

_TOTAL = re.compile(r"bytes (?:\d+-\d+|\*)/(\d+)")


class Opened(NamedTuple):
    """A file that can be read: its bytes, and how to get those of a range until a moment."""

    size: int
    read: Callable[[int, int, float], bytes]


class WebClient(Client):
    """Files of web servers.

    What a server says of lengths and ranges is not believed but tried: a file is read by range
    where asking for its first byte brings just that, and the length of the whole.
    """

    def open(self, uri: str, *, deadline: float = math.inf) -> Opened:
        """Open a file: for ranges, or held in memory from a server that sends none.

        Raises:
            OpenError: the server sends no ranges, and the file is larger than
                ``options.whole_file_mb``. Otherwise as every method.
        """
        head = self._request(uri, partial(self._ranged, uri), deadline=deadline)
        if head is not None:
            version = head.version
            return Opened(
                head.size,
                lambda start, stop, until: self.read(
                    uri, start, stop, version=version, deadline=until
                ),
            )
        deadline = min(deadline, time.monotonic() + _WHOLE_TIMES * self.options.timeout_sec)

        def check() -> None:
            if time.monotonic() > deadline:
                raise StorageUnavailableError(f"{display_uri(uri)} did not arrive in time")

        whole = self._request(
            uri, partial(self._in_memory, uri, deadline), before=check, is_bounded=False
        )
        return Opened(len(whole), lambda start, stop, _: bytes(memoryview(whole)[start:stop]))

    def _driver_options(self) -> dict[str, Any]:
        return {"get_client": partial(guarded_session, self.options.places)}

    async def _ranged(self, uri: str) -> Head | None:
        """Length and version of a file that can be read by range, else None."""
        async with self._response(uri, "bytes=0-0") as response:
            total = _TOTAL.fullmatch(response.headers.get("Content-Range", ""))
            # A weak tag may stay while bytes change. 416: there is no first byte.
            tag = response.headers.get("ETag", "")
            version = tag if tag.startswith('"') else None
            return Head(int(total[1]), version) if total and response.status in (206, 416) else None

    async def _in_memory(self, uri: str, deadline: float) -> bytearray:
        """All bytes, whether the server says how many there are or sends them in chunks."""
        limit, whole = self.options.whole_file_mb * 1_000_000, bytearray()
        async with (
            asyncio.timeout(deadline - time.monotonic()),
            self._response(uri) as response,
        ):
            announced = response.content_length or 0
            while max(announced, len(whole)) <= limit:
                chunk = await response.content.read(_CHUNK)
                if not chunk:
                    return whole
                whole += chunk
        raise OpenError(
            f"{display_uri(uri)} is on a server that sends no ranges, and is larger than the "
            f"{self.options.whole_file_mb} MB that are read whole (storage.whole_file_mb)"
        )

    async def _get(self, uri: str, start: int, stop: int, version: str | None) -> bytes:
        async with self._response(uri, f"bytes={start}-{stop - 1}", version) as response:
            if response.status != 206:
                raise StorageUnavailableError("the server sent the whole file instead of a range")
            # A byte more than asked for is enough to see that there are too many.
            data = bytearray()
            while len(data) <= stop - start and (chunk := await response.content.read(_CHUNK)):
                data += chunk
            return bytes(data)

    @asynccontextmanager
    async def _response(
        self, uri: str, span: str | None = None, version: str | None = None
    ) -> AsyncIterator[Any]:
        """The answer to a GET request, not compressed on its way."""
        session = await self.filesystem.set_session()
        asked = {"Range": span, "If-Match": version}
        headers = {name: value for name, value in asked.items() if value}
        headers["Accept-Encoding"] = "identity"
        async with session.get(self.filesystem.encode_url(uri), headers=headers) as response:
            if response.status != 416:
                response.raise_for_status()
            yield response
