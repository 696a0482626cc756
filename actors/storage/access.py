"""Opening a file wherever it is: local paths, ``s3://``, and whatever fsspec knows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from actors.storage.client import Client
from actors.storage.local import LocalFile
from actors.storage.places import WEB_SCHEMES
from actors.storage.range_reader import Fetch, RangeReader
from actors.storage.s3 import s3_client
from actors.storage.uris import S3_SCHEMES, display_uri, local_path, scheme_of
from actors.storage.web import WebClient
from schemas.errors import EmptyFileError, NotFoundError
from schemas.media import StorageOptions


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file or an object that can be read.

    Attributes:
        name: its own, without the way to it.
        size: in bytes, at least one.
        fetch: returns the bytes of a range, and raises as :func:`open_file` does.
        close: to be called when it is not needed any more.
    """

    name: str
    size: int
    fetch: Fetch
    close: Callable[[], None]


def open_file(uri: str, options: StorageOptions, *, deadline: float = math.inf) -> StoredFile:
    """Open a file or an object.

    Args:
        uri: a local path, ``file://``, ``s3://bucket/key``, or any URL fsspec knows.
        options: how to reach the storage.
        deadline: on the clock of ``time.monotonic``; until then the storage must have answered
            all that it is asked.

    Raises:
        NotFoundError: there is nothing at ``uri``; NoSuchPlaceError: nor is there its bucket
            or folder.
        AccessDeniedError: the storage refuses.
        PlaceNotAllowedError: the web server is not a public one, nor among ``options.places``.
        CredentialsError: there are no credentials, or they are not valid any more.
        EmptyFileError: the file has no bytes.
        NotAVideoError: it is a folder, a pipe or a device.
        StorageUnavailableError: no proper answer in spite of retries.
        ReplacedError: from the reader, where another version took the object's place
            since it was opened (of the storages that tell versions: S3, most web servers).
        OpenError: the URI's scheme is unknown, its package is not installed, or it cannot
            open such an address.
    """
    shown = display_uri(uri)
    path = local_path(uri)
    fetch: Fetch
    if path is not None:
        local = LocalFile(path)
        file = StoredFile(
            name=os.path.basename(path), size=local.size, fetch=local.fetch, close=local.close
        )
    else:
        scheme = scheme_of(uri)
        # All ranges of one reading are of one version.
        if scheme in WEB_SCHEMES:
            size, fetch = WebClient(scheme, options).open(uri, deadline=deadline)
        else:
            client = s3_client(options) if scheme in S3_SCHEMES else Client(scheme, options)
            try:
                size, version = client.head(uri, deadline=deadline)
            except NotFoundError:
                if scheme in S3_SCHEMES:
                    # A HEAD request is not told whether it is the bucket that is missing.
                    client.read(uri, 0, 1, deadline=deadline)
                raise
            fetch = partial(client.read, uri, version=version, deadline=deadline)
        file = StoredFile(
            name=os.path.basename(urlsplit(shown).path) or scheme,
            size=size,
            fetch=fetch,
            close=lambda: None,
        )
    if file.size == 0:
        file.close()
        raise EmptyFileError(f"{shown} is empty")
    return file


def open_range(uri: str, options: StorageOptions) -> RangeReader:
    """Open a file or an object as a Python file. Raises as :func:`open_file` does."""
    file = open_file(uri, options)
    return RangeReader(file.fetch, size=file.size, name=file.name, on_close=file.close)


def read_whole(uri: str, options: StorageOptions) -> bytes:
    """All bytes of a file or an object. Raises as :func:`open_range` does, but for empty ones."""
    try:
        with open_range(uri, options) as reader:
            return b"".join(iter(reader.read, b""))
    except EmptyFileError:
        return b""
