"""The client of every storage that is not local: one time limit, one retry policy, one mapping
of errors, whoever asks.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import random
import time
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import fsspec
from fsspec.asyn import AsyncFileSystem, get_loop, sync

from actors.storage.errors import explained
from actors.storage.uris import display_uri, without_secrets
from schemas.errors import NotFoundError, OpenError, ReplacedError, StorageUnavailableError
from schemas.media import StorageOptions

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_WAIT_SEC = 0.2
LONGEST_WAIT_SEC = 10.0


class Head(NamedTuple):
    """What a storage says of an object: its bytes, and the version of its content if it has one."""

    size: int
    version: str | None = None


class Client:
    """The objects of one storage, reached by its fsspec driver.

    Every method is tried ``1 + options.retries`` times, each within ``options.timeout_sec``.
    All raise the same errors: NotFoundError, AccessDeniedError, CredentialsError,
    StorageUnavailableError (no proper answer in spite of retries), OpenError (anything else
    that trying again does not mend).

    Args:
        scheme: of its addresses.
        options: how to reach it.
    """

    def __init__(self, scheme: str, options: StorageOptions) -> None:
        self.scheme = scheme
        self.options = options

    def head(self, uri: str, *, deadline: float = math.inf) -> Head:
        """Size and version of an object."""
        return self._request(uri, lambda: self._head(uri), deadline=deadline)

    def read(
        self,
        uri: str,
        start: int,
        stop: int,
        *,
        version: str | None = None,
        deadline: float = math.inf,
    ) -> bytes:
        """The bytes of a range; never fewer, where an answer was cut short.

        Args:
            version: of which :class:`Head`; ReplacedError where the object has another by now.
        """
        return self._request(uri, lambda: self._range(uri, start, stop, version), deadline=deadline)

    def read_whole(self, uri: str) -> bytes:
        """All bytes of an object, of one version; begins anew where another replaces it."""

        async def whole() -> bytes:
            while True:
                size, version = await self._head(uri)
                try:
                    return await self._range(uri, 0, size, version) if size else b""
                except Exception as error:
                    if not isinstance(explained(error, ""), ReplacedError):
                        raise

        return self._request(uri, whole)

    def files(self, uri: str) -> list[str]:
        """Addresses of all files below a prefix, or of the one of this name, in the order of their
        bytes.
        """

        async def found() -> list[str]:
            path = self.filesystem._strip_protocol(uri)
            names = await self.filesystem._find(path)
            return sorted(map(self.filesystem.unstrip_protocol, names), key=os.fsencode)

        return self._request(uri, found, is_bounded=False)

    def _request(
        self,
        uri: str,
        call: Callable[[], Awaitable[T]],
        *,
        before: Callable[[], None] | None = None,
        is_bounded: bool = True,
        deadline: float = math.inf,
    ) -> T:
        """Run ``call`` until it succeeds.

        Args:
            uri: what it is about, for messages.
            call: makes one attempt.
            before: called before each attempt; what it raises ends all.
            is_bounded: whether an attempt must end in ``options.timeout_sec``; an upload of
                several requests need not, each of which has the driver's own time limit.
            deadline: on the clock of ``time.monotonic``; no attempt outlasts it.
        """
        shown = display_uri(uri)
        longest_sec = self.options.timeout_sec if is_bounded else math.inf

        async def attempt() -> T:
            seconds = min(longest_sec, deadline - time.monotonic())
            return await asyncio.wait_for(call(), None if seconds == math.inf else seconds)

        for attempts in itertools.count(1):
            if before is not None:
                before()
            try:
                result: T = sync(get_loop(), attempt)
                return result
            except Exception as cause:
                error = explained(cause, shown)
            if not isinstance(error, StorageUnavailableError):
                raise error from None
            longest = min(LONGEST_WAIT_SEC, FIRST_WAIT_SEC * 2 ** (attempts - 1))
            # Full jitter would retry at once now and then; half keeps the pressure down.
            pause = longest * random.uniform(0.5, 1.0)
            if attempts > self.options.retries or time.monotonic() + pause >= deadline:
                raise StorageUnavailableError(
                    f"{shown}: no proper answer after {attempts} attempts, the last: {error}"
                ) from None
            logger.info("%s: %s; again in %.1f s", shown, error, pause)
            time.sleep(pause)
        raise AssertionError("unreachable")

    async def _range(self, uri: str, start: int, stop: int, version: str | None) -> bytes:
        data = await self._get(uri, start, stop, version)
        if len(data) != stop - start:
            raise StorageUnavailableError(f"{len(data)} of {stop - start} bytes arrived")
        return data

    # ---- how this storage does it

    def _driver_options(self) -> dict[str, Any]:
        return {}

    @cached_property
    def filesystem(self) -> AsyncFileSystem:
        """The driver."""
        from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

        try:
            found = fsspec.filesystem(self.scheme, **self._driver_options())
        except (ImportError, ValueError) as error:
            raise OpenError(
                f"cannot open {self.scheme}:// addresses: {without_secrets(str(error))}"
            ) from None
        return found if found.async_impl else AsyncFileSystemWrapper(found, asynchronous=False)

    async def _head(self, uri: str) -> Head:
        info: dict[str, Any] = await self.filesystem._info(self.filesystem._strip_protocol(uri))
        if info.get("type") == "directory":
            raise NotFoundError(f"{display_uri(uri)} is a folder, not a file")
        if info.get("size") is None:
            raise OpenError(f"the storage does not tell the size of {display_uri(uri)}")
        return Head(int(info["size"]))

    async def _get(self, uri: str, start: int, stop: int, _version: str | None) -> bytes:
        path = self.filesystem._strip_protocol(uri)
        return bytes(await self.filesystem._cat_file(path, start=start, end=stop))
