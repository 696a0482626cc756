"""Opening a file wherever it is: local paths, ``s3://``, and whatever fsspec knows."""

from __future__ import annotations

import os
from functools import partial
from urllib.parse import urlsplit

from actors.storage.client import Client
from actors.storage.local import LocalFile
from actors.storage.range_reader import Fetch, RangeReader
from actors.storage.s3 import s3_client
from actors.storage.uris import S3_SCHEMES, display_uri, local_path, scheme_of
from actors.storage.web import WEB_SCHEMES, WebClient
from schemas.errors import EmptyFileError
from schemas.media import StorageOptions

__all__ = ["RangeReader", "StorageOptions", "open_range", "read_whole"]


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
        ReplacedError: from the reader, where another version took the object's place
            since it was opened (of the storages that tell versions: S3, most web servers).
        OpenError: the URI's scheme is unknown, its package is not installed, or it cannot
            open such an address.
    """
    shown = display_uri(uri)
    path = local_path(uri)
    fetch: Fetch
    close = None
    if path is not None:
        file = LocalFile(path)
        size, fetch, close = file.size, file.fetch, file.close
        name = os.path.basename(path)
    else:
        scheme = scheme_of(uri)
        # All ranges of one reading are of one version.
        if scheme in WEB_SCHEMES:
            size, fetch = WebClient(scheme, options).open(uri)
        else:
            client = s3_client(options) if scheme in S3_SCHEMES else Client(scheme, options)
            size, version = client.head(uri)
            fetch = partial(client.read, uri, version=version)
        close = None
        name = os.path.basename(urlsplit(shown).path) or scheme
    reader = RangeReader(fetch, size=size, name=name, on_close=close)
    if size == 0:
        reader.close()
        raise EmptyFileError(f"{shown} is empty")
    return reader


def read_whole(uri: str, options: StorageOptions) -> bytes:
    """All bytes of a file or an object. Raises as :func:`open_range` does, but for empty ones."""
    try:
        with open_range(uri, options) as reader:
            return b"".join(iter(reader.read, b""))
    except EmptyFileError:
        return b""
