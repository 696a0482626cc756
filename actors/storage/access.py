"""Opening a video wherever it is: local paths, ``s3://``, and whatever fsspec knows."""

from __future__ import annotations

import asyncio
import os
import random
import re
import stat
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from fsspec.asyn import sync

from actors.storage.range_reader import RangeReader, Span
from actors.storage.signed_object import CONCURRENT_REQUESTS, SignedObject, gather, refuses
from schemas.errors import (
    AccessDeniedError,
    CredentialsError,
    EmptyFileError,
    NotAVideoError,
    NotFoundError,
    OpenError,
    StorageUnavailableError,
)
from schemas.media import StorageOptions

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["RangeReader", "StorageOptions", "open_range"]

SIGNED_URL_FROM = 32
"""From so many ranges on, one signed URL for all is worth its own request path."""

FIRST_WAIT_SEC = 0.2
LONGEST_WAIT_SEC = 10.0

_SIGNATURE = re.compile(
    r"(?:^|&)(?:x-amz-|x-goog-|signature=|sig=|token=|key-pair-id=|policy=)", re.IGNORECASE
)

T = TypeVar("T")


def open_range(uri: str, options: StorageOptions) -> RangeReader:
    """Open a file or an object for range reads.

    Args:
        uri: a local path, ``file://``, ``s3://bucket/key``, or any URL fsspec knows.
        options: how to reach the storage.

    Raises:
        NotFoundError: there is nothing at ``uri``.
        AccessDeniedError: the storage refuses.
        CredentialsError: there are no credentials, or they are not valid any more.
        EmptyFileError: the file has no bytes.
        NotAVideoError: it is a folder, a pipe or a device.
        StorageUnavailableError: no proper answer in spite of retries.
        OpenError: the URI's scheme is unknown, or its package is not installed.
    """
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    if scheme in ("", "file", "local"):
        path = unquote(uri.split("://", 1)[1]) if scheme == "file" else uri.split("://", 1)[-1]
        return _open_local(path)
    return _open_remote(uri, scheme, options)


def display_uri(uri: str) -> str:
    """Return ``uri`` without user, password, query and fragment: fit for messages."""
    if "://" not in uri:
        return uri
    scheme, rest = uri.split("://", 1)
    if scheme not in ("file", "local", "s3", "s3a", "gs", "gcs"):
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rsplit('@', 1)[-1]}{slash}{path}"


def public_uri(uri: str) -> str:
    """Return ``uri`` fit for tables: as it is, but for user, password and the query of a signed
    address, which opens the file for whoever reads it.
    """
    query = urlsplit(uri).query if uri.startswith(("http://", "https://")) else ""
    signed = _SIGNATURE.search(query) is not None
    bare = display_uri(uri)
    return bare if signed or not query else f"{bare}?{query}"


class _LocalFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fetch(self, start: int, stop: int) -> bytes:
        parts = []
        while start < stop:
            part = os.pread(self._descriptor, stop - start, start)
            if not part:
                raise StorageUnavailableError("the file became shorter while it was read")
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def fetch_many(self, spans: Sequence[Span]) -> list[bytes]:
        return [self.fetch(start, stop) for start, stop in spans]

    def close(self) -> None:
        os.close(self._descriptor)


def _open_local(path: str) -> RangeReader:
    try:
        # Look before opening: opening a named pipe would wait for a writer.
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise NotAVideoError(f"{path} is not a regular file")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"there is no file {path}") from None
    except PermissionError:
        raise AccessDeniedError(f"no permission to read {path}") from None
    except (OSError, ValueError) as error:
        raise OpenError(f"cannot open {path}: {error}") from None
    source = _LocalFile(descriptor)
    if status.st_size == 0:
        source.close()
        raise EmptyFileError(f"{path} is empty")
    return RangeReader(
        source,
        size=status.st_size,
        name=os.path.basename(path),
        on_close=source.close,
    )


def _open_remote(uri: str, scheme: str, options: StorageOptions) -> RangeReader:
    shown = display_uri(uri)
    try:
        filesystem = _filesystem(scheme, options)
        path = str(filesystem._strip_protocol(uri))
    except (ImportError, ValueError) as error:
        raise OpenError(f"cannot open {shown}: {_redact(str(error))}") from None
    source = _RemoteObject(filesystem, path, shown, options)
    size = source.size()
    if size == 0:
        raise EmptyFileError(f"{shown} is empty")
    name = os.path.basename(urlsplit(shown).path) or scheme
    return RangeReader(source, size=size, name=name)


@lru_cache(maxsize=8)
def _filesystem(scheme: str, options: StorageOptions) -> AbstractFileSystem:
    import fsspec

    if scheme not in ("s3", "s3a"):
        return fsspec.filesystem(scheme)
    client: dict[str, Any] = {}
    if options.region is not None:
        client["region_name"] = options.region
    filesystem = fsspec.filesystem(
        scheme,
        anon=options.anonymous,
        endpoint_url=options.endpoint_url,
        client_kwargs=client,
        config_kwargs={
            # One retry policy, ours: it also covers bodies that are too short.
            "signature_version": "s3v4",
            "retries": {"total_max_attempts": 1},
            "connect_timeout": min(10.0, options.timeout_sec),
            "read_timeout": options.timeout_sec,
            "max_pool_connections": CONCURRENT_REQUESTS,
        },
        use_listings_cache=False,
    )
    filesystem.retries = 1
    return filesystem


class _RemoteObject:
    """One object of an fsspec file system: range requests with retries."""

    def __init__(
        self, filesystem: AbstractFileSystem, path: str, shown: str, options: StorageOptions
    ) -> None:
        self._filesystem = filesystem
        self._path = path
        self._shown = shown
        self._options = options
        self._signed = SignedObject(filesystem, path, timeout_sec=options.timeout_sec)
        self._signing = shown.startswith(("s3://", "s3a://"))

    def size(self) -> int:
        def ask() -> int:
            info = self._info()
            if info.get("type") == "directory":
                raise NotFoundError(f"{self._shown} is a folder, not a file")
            size = info.get("size")
            if size is None:
                raise OpenError(f"the storage does not tell the size of {self._shown}")
            return int(size)

        return self._retrying(ask)

    def _info(self) -> Any:
        try:
            return self._call("info")
        except Exception as error:
            answer = _service_answer(error)
            if answer is not None and answer[0] in ("400", "403"):
                # The answer to a HEAD request has no body, and so no reason: a GET has one.
                self._call("cat_file", start=0, end=1)
            raise

    def fetch(self, start: int, stop: int) -> bytes:
        return self._retrying(lambda: self._checked(self._read(start, stop), start, stop))

    def fetch_many(self, spans: Sequence[Span]) -> list[bytes]:
        results: list[bytes | None] = [None] * len(spans)

        def fetch_missing() -> None:
            missing = [at for at, data in enumerate(results) if data is None]
            failure: BaseException | None = None
            answers = self._read_many([spans[at] for at in missing])
            for at, answer in zip(missing, answers, strict=True):
                if isinstance(answer, BaseException):
                    failure = answer
                elif len(answer) != spans[at][1] - spans[at][0]:
                    failure = _ShortBodyError(len(answer), spans[at][1] - spans[at][0])
                else:
                    results[at] = answer
            if failure is not None:
                raise failure

        self._retrying(fetch_missing, progress=lambda: sum(data is not None for data in results))
        return [data for data in results if data is not None]

    def _checked(self, data: bytes, start: int, stop: int) -> bytes:
        if len(data) != stop - start:
            raise _ShortBodyError(len(data), stop - start)
        return data

    def _read(self, start: int, stop: int) -> bytes:
        return bytes(self._call("cat_file", start=start, end=stop))

    def _read_many(self, spans: Sequence[Span]) -> list[bytes | BaseException]:
        if not self._filesystem.async_impl:
            return [self._read(start, stop) for start, stop in spans]
        if self._signing and len(spans) >= SIGNED_URL_FROM:
            answers = self._signed.read(spans)
            if not any(refuses(answer) for answer in answers):
                return answers
            self._signing = False

        async def read(start: int, stop: int) -> bytes:
            call = self._filesystem._cat_file(self._path, start=start, end=stop)
            return bytes(await asyncio.wait_for(call, self._options.timeout_sec))

        async def read_all() -> list[bytes | BaseException]:
            return await gather(read, spans, CONCURRENT_REQUESTS)

        return list(sync(self._filesystem.loop, read_all))

    def _call(self, method: str, **arguments: int) -> Any:
        """Call a method of the file system within the wall time of one request."""
        if not self._filesystem.async_impl:
            return getattr(self._filesystem, method)(self._path, **arguments)

        async def bounded() -> Any:
            # fsspec's async methods have the sync ones' names with an underscore.
            call = getattr(self._filesystem, f"_{method}")(self._path, **arguments)
            return await asyncio.wait_for(call, self._options.timeout_sec)

        return sync(self._filesystem.loop, bounded)

    def _retrying(self, action: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
        """Run ``action`` until it succeeds; attempts that made progress are not counted."""
        failures = 0
        done = progress()
        while True:
            try:
                return action()
            except OpenError:
                raise
            except Exception as error:
                permanent = _permanent_error(error, self._shown)
                if permanent is not None:
                    raise permanent from None
                failures = failures + 1 if progress() == done else 1
                done = progress()
                if failures > self._options.retries:
                    raise StorageUnavailableError(
                        f"{self._shown}: no proper answer after {failures} attempts, "
                        f"the last: {_describe(error)}"
                    ) from None
                longest = min(LONGEST_WAIT_SEC, FIRST_WAIT_SEC * 2 ** (failures - 1))
                # Full jitter would retry at once now and then; half keeps the pressure down.
                time.sleep(longest * random.uniform(0.5, 1.0))


class _ShortBodyError(Exception):
    def __init__(self, got: int, wanted: int) -> None:
        super().__init__(f"{got} of {wanted} bytes arrived")


_DENIED_CODES = {"403", "AccessDenied", "AllAccessDisabled", "InvalidObjectState"}
_CREDENTIAL_CODES = {
    "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch",
    "RequestTimeTooSkewed", "TokenRefreshRequired",
}  # fmt: skip
_TRANSIENT_CODES = {
    "SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "InternalError",
    "ServiceUnavailable", "OperationAborted", "RequestThrottled",
}  # fmt: skip


def _chain(error: BaseException) -> list[BaseException]:
    """Return ``error`` and what caused it, outermost first."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def _service_answer(error: BaseException) -> tuple[str, int] | None:
    """Return the S3 error code and HTTP status in an error's chain, if there are any."""
    for link in _chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict) and "Error" in response:
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response["Error"].get("Code", "")), int(status)
    return None


def _permanent_error(error: Exception, shown: str) -> OpenError | None:
    """Return the error to report if trying again cannot help, else None."""
    answer = _service_answer(error)
    if answer is not None:
        code, status = answer
        if code in _CREDENTIAL_CODES:
            return CredentialsError(f"the credentials do not open {shown} ({code})")
        if code in _DENIED_CODES or status in (401, 403):
            return AccessDeniedError(
                f"access to {shown} denied ({code or status}); a missing object looks the "
                "same where the credentials may not list the bucket"
            )
        if status == 404 or code in ("404", "NoSuchKey", "NoSuchBucket"):
            what = "bucket" if code == "NoSuchBucket" else "object"
            return NotFoundError(f"there is no {what} at {shown}")
        if status >= 500 or status in (0, 408, 409, 429) or code in _TRANSIENT_CODES:
            return None
        return OpenError(f"the storage refuses {shown}: {code} (HTTP {status})")
    names = {type(link).__name__ for link in _chain(error)}
    if names & {"NoCredentialsError", "PartialCredentialsError"}:
        return CredentialsError(f"no credentials for {shown} were found by the standard AWS chain")
    statuses = {getattr(link, "status", None) for link in _chain(error)} - {None}
    if statuses & {401, 403}:
        return AccessDeniedError(f"access to {shown} denied (HTTP {statuses.pop()})")
    if any(isinstance(code, int) and code >= 429 for code in statuses):
        return None
    if names & {"ClientConnectionError", "ClientConnectorError", "ServerDisconnectedError"}:
        # fsspec reports an unreachable web server as a file that is not there.
        return None
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"there is no object at {shown}")
    if isinstance(error, PermissionError):
        return AccessDeniedError(f"access to {shown} denied")
    if names & {"ParamValidationError", "NotImplementedError", "TypeError"}:
        return OpenError(f"cannot read {shown}: {_describe(error)}")
    return None


def _describe(error: BaseException) -> str:
    """Return one short line about an error, without secrets."""
    answer = _service_answer(error)
    if answer is not None:
        return f"{answer[0]} (HTTP {answer[1]})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = _redact(" ".join(str(error).split()))[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _redact(text: str) -> str:
    """Remove URL queries and user information from a message."""
    text = re.sub(r"(\w+://[^\s?'\"]+)\?[^\s'\"]*", r"\1", text)
    return re.sub(r"(\w+://)[^\s/@'\"]+@", r"\1", text)
