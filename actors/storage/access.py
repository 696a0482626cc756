"""Opening a file wherever it is: local paths, ``s3://``, and whatever fsspec knows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from urllib.parse import urlsplit

from actors.storage.archives import Member
from actors.storage.cells import cell_of
from actors.storage.client import Client
from actors.storage.local import LocalFile
from actors.storage.places import WEB_SCHEMES
from actors.storage.range_reader import RangeReader
from actors.storage.s3 import s3_client
from actors.storage.uris import S3_SCHEMES, display_uri, local_path, scheme_of
from actors.storage.web import WebClient
from schemas.errors import EmptyFileError, NotFoundError
from schemas.media import StorageOptions


@dataclass(kw_only=True)
class StoredFile:
    """A file or an object that can be read.

    Attributes:
        name: its own, without the way to it.
        size: in bytes, at least one.
        read: returns the bytes of a range, until a moment on the clock of ``time.monotonic``.
        close: to be called when it is not needed any more.
        version: which content it has, None where that is unknown.
        deadline: until when :meth:`fetch` must have its answer.
    """

    name: str
    size: int
    read: Callable[[int, int, float], bytes]
    close: Callable[[], None]
    version: str | None = None
    deadline: float = math.inf

    def reader(self) -> RangeReader:
        """The file as a Python file, which does not close this one."""
        return RangeReader(self.fetch, size=self.size, name=self.name)

    def fetch(self, start: int, stop: int) -> bytes:
        """The bytes of a range. Raises as :func:`open_file` does."""
        return self.read(start, stop, self.deadline)


def open_file(uri: str, options: StorageOptions, *, deadline: float = math.inf) -> StoredFile:
    """Open a file or an object.

    Args:
        uri: a local path, ``file://``, ``s3://bucket/key``, any URL fsspec knows, or a place inside
            one of these (:mod:`actors.storage.archives`).
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
    member = Member.parse(uri)
    if member is not None:
        return _open_member(member, open_file(member.file, options, deadline=deadline))
    shown = display_uri(uri)
    path = local_path(uri)
    version: str | None = None
    if path is not None:
        local = LocalFile(path)
        file = StoredFile(
            name=os.path.basename(path),
            size=local.size,
            read=lambda start, stop, _deadline: local.fetch(start, stop),
            close=local.close,
            version=local.version,
        )
    else:
        scheme = scheme_of(uri)
        # All ranges of one reading are of one version.
        if scheme in WEB_SCHEMES:
            size, read = WebClient(scheme, options).open(uri, deadline=deadline)
        else:
            client = client_of(scheme, options)
            try:
                size, version = client.head(uri, deadline=deadline)
            except NotFoundError:
                if scheme in S3_SCHEMES:
                    # A HEAD request is not told whether it is the bucket that is missing.
                    client.read(uri, 0, 1, deadline=deadline)
                raise
            read = partial(_read, client, uri, version)
        file = StoredFile(
            name=os.path.basename(urlsplit(shown).path) or scheme,
            size=size,
            read=read,
            close=lambda: None,
            version=version,
        )
    file.deadline = deadline
    if file.size == 0:
        file.close()
        raise EmptyFileError(f"{shown} is empty")
    return file


def _open_member(member: Member, file: StoredFile) -> StoredFile:
    """A member of an archive as a file: a range of that file; a table's cell from memory."""
    try:
        if member.kind == "parquet":
            with file.reader() as reader:
                cell = cell_of(reader, member.name, str(member))
            file.close()
            return StoredFile(
                name=member.name,
                size=len(cell),
                read=lambda start, stop, _until: cell[start:stop],
                close=lambda: None,
                version=file.version,
            )
        first, size = member.find(file.fetch, file.size, file.version)
        if size == 0:
            raise EmptyFileError(f"{member} is empty")
    except BaseException:
        file.close()
        raise
    return StoredFile(
        name=os.path.basename(member.name),
        size=size,
        read=lambda start, stop, until: file.read(first + start, first + stop, until),
        close=file.close,
        version=file.version,
        deadline=file.deadline,
    )


def client_of(scheme: str, options: StorageOptions) -> Client:
    """The client of this process for addresses of a scheme that is neither local nor of the web."""
    return s3_client(options) if scheme in S3_SCHEMES else driver_client(scheme, options)


@lru_cache(maxsize=8)
def driver_client(scheme: str, options: StorageOptions) -> Client:
    """The client of this process for a storage that its fsspec driver alone knows."""
    return Client(scheme, options)


def _read(
    client: Client, uri: str, version: str | None, start: int, stop: int, deadline: float
) -> bytes:
    return client.read(uri, start, stop, version=version, deadline=deadline)


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
