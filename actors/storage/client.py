"""The client of every storage that is not local: one time limit, one retry policy, one mapping
of errors, whoever asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import os
import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import fsspec
from fsspec.asyn import AsyncFileSystem, get_loop, sync

from actors.storage.errors import explained, service_answer
from actors.storage.uris import OBJECT_SCHEMES, display_uri, without_secrets
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


class StoredObject(NamedTuple):
    """An object of a listing.

    Attributes:
        uri: its address.
        size: in bytes.
        modified: by the storage's clock, in seconds since 1970; 0.0 where that is not told.
        version: of its content, None where that is not told.
    """

    uri: str
    size: int
    modified: float
    version: str | None


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

    _knows_conditions = True
    """Until the server answers that it does not implement them."""

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
        """All bytes of an object, of one version."""
        return self._request(uri, lambda: self._whole(uri))

    def below(self, uri: str) -> list[StoredObject]:
        """All files below a prefix, or the one of this name, in the order of their bytes."""

        async def found() -> list[StoredObject]:
            files = await self.filesystem._find(self._path(uri), detail=True)
            if not isinstance(files, dict):  # Azure's driver, where this is a file
                files = {name: await self.filesystem._info(name) for name in files}
            objects = (
                StoredObject(
                    f"{self.scheme}://{name}",
                    int(told.get("size") or 0),
                    _modified(told),
                    _version(told),
                )
                for name, told in files.items()
            )
            return sorted(objects, key=lambda each: os.fsencode(each.uri))

        return self._request(uri, found, is_bounded=False)

    def write(
        self,
        uri: str,
        data: bytes,
        *,
        guard: Callable[[], None] | None = None,
        once: bool = False,
    ) -> None:
        """Make or replace an object.

        Args:
            guard: called right before every attempt; what it raises ends the write.
            once: replace none, where the server knows such a condition.

        Raises:
            FileExistsError: there is one that was not to be replaced; also after an attempt
                that succeeded although its answer was lost.
        """

        async def put() -> None:
            if once and self._knows_conditions:
                try:
                    await self.filesystem._pipe_file(self._path(uri), data, mode="create")
                    return
                except FileExistsError as error:
                    raise ReplacedError(f"{error}") from None
                except Exception as error:
                    if (service_answer(error) or ("", 0))[1] != 501:
                        raise
                    self._knows_conditions = False
            await self.filesystem._pipe_file(self._path(uri), data)

        try:
            self._request(uri, put, before=guard, is_bounded=False)
        except ReplacedError:
            raise FileExistsError(f"{display_uri(uri)} is there already") from None

    def upload(self, uri: str, path: str) -> None:
        """Make or replace an object from a local file."""
        self._request(
            uri, lambda: self.filesystem._put_file(path, self._path(uri)), is_bounded=False
        )

    def delete(self, uri: str) -> None:
        """Delete an object; one that is not there is not an error."""
        with contextlib.suppress(NotFoundError):
            self._request(uri, lambda: self._delete(uri))

    def abort_uploads(self, prefix: str) -> None:
        """End the uploads in parts below a prefix that nobody completed, where there are such."""

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
        if self.scheme not in OBJECT_SCHEMES:
            return {}
        return {"use_listings_cache": False, "skip_instance_cache": True}

    def _path(self, uri: str) -> str:
        """The address as the driver names it."""
        return str(self.filesystem._strip_protocol(uri))

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
        info: dict[str, Any] = await self.filesystem._info(self._path(uri))
        if info.get("type") == "directory":
            raise NotFoundError(f"{display_uri(uri)} is a folder, not a file")
        if info.get("size") is None:
            raise OpenError(f"the storage does not tell the size of {display_uri(uri)}")
        return Head(int(info["size"]), _version(info))

    async def _get(self, uri: str, start: int, stop: int, _version: str | None) -> bytes:
        return bytes(await self.filesystem._cat_file(self._path(uri), start=start, end=stop))

    async def _whole(self, uri: str) -> bytes:
        return bytes(await self.filesystem._cat_file(self._path(uri)))

    async def _delete(self, uri: str) -> None:
        await self.filesystem._rm_file(self._path(uri))


def _version(told: dict[str, Any]) -> str | None:
    """The version of an object's content, by what a driver tells of it."""
    return str(told.get("etag") or "").strip('"') or None


def _modified(told: dict[str, Any]) -> float:
    """When an object was written, by what a driver tells of it."""
    at = told.get("mtime") or told.get("last_modified")
    return at.timestamp() if isinstance(at, datetime) else 0.0
