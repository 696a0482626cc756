"""A folder of files in a storage, such as a model's, and its copy on a node, made once."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import posixpath
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from actors.storage.access import client_of
from actors.storage.places import WEB_SCHEMES
from actors.storage.uris import display_uri, scheme_of
from schemas.errors import NotFoundError, OpenError
from schemas.media import StorageOptions

logger = logging.getLogger(__name__)

_RANGE_BYTES = 16 << 20
"""Of one request: a connection of half a megabyte a second answers it in time."""

_AT_ONCE = 8
"""Requests in flight: one connection to S3 alone carries less than a network card."""

_SPARE_BYTES = 1 << 28
"""What stays free on the disk."""


@dataclass(frozen=True)
class FolderFile:
    """A file of a folder.

    Attributes:
        name: its path below the folder.
        size: in bytes.
        version: which content it has, None where the storage does not tell.
    """

    name: str
    size: int
    version: str | None


@dataclass(frozen=True, kw_only=True)
class StoredFolder:
    """A folder as it was when it was listed; plain data.

    Attributes:
        address: without a slash at its end.
        files: in the order of their names.
    """

    address: str
    files: tuple[FolderFile, ...]
    options: StorageOptions

    @classmethod
    def listed(cls, address: str, options: StorageOptions) -> Self:
        """Look at a folder.

        Raises:
            OpenError: it cannot be listed, or a name in it leads out of it.
            NotFoundError: nothing is in it.
        """
        address = address.rstrip("/")
        if scheme_of(address) in WEB_SCHEMES:
            raise OpenError(f"a web server does not list folders: {display_uri(address)}")
        files = tuple(sorted(_files(address, options), key=lambda file: file.name))
        if not files:
            raise NotFoundError(f"there is nothing below {display_uri(address)}/")
        for file in files:
            if posixpath.normpath(file.name) != file.name or file.name.startswith(("/", "../")):
                raise OpenError(f"{display_uri(address)} holds a file of the name {file.name!r}")
        return cls(address=address, files=files, options=options)

    def only(self, *suffixes: str) -> Self:
        """The same with the files alone that end so."""
        kept = tuple(each for each in self.files if each.name.endswith(suffixes))
        return replace(self, files=kept)

    def without(self, *suffixes: str) -> Self:
        """The same but for the files that end so."""
        kept = tuple(each for each in self.files if not each.name.endswith(suffixes))
        return replace(self, files=kept)

    @property
    def size(self) -> int:
        """Of all files, in bytes."""
        return sum(file.size for file in self.files)

    def read(self, file: FolderFile, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes of a range, by default of all of the file.

        Raises:
            OpenError: it cannot be read; ReplacedError where it is not the listed version any more.
        """
        stop = file.size if stop is None else stop
        if stop <= start:
            return b""
        uri = f"{self.address}/{file.name}"
        return client_of(scheme_of(uri), self.options).read(uri, start, stop, version=file.version)

    def fetch(self, into: Path) -> Path:
        """Copy the folder to this machine, unless it is there.

        A process that asks while another one copies waits for it. What a copy that was cut off has
        completed is kept. Another content of the folder gets another copy, so that files that are
        in use never change.

        Args:
            into: holds the copies; made if missing.

        Returns:
            the folder of the copy, whose name begins with the folder's own.

        Raises:
            OpenError: a file cannot be read.
            OSError: it cannot be written; ENOSPC, before anything is read, where it does not fit.
        """
        place = into / self._name
        into.mkdir(parents=True, exist_ok=True)
        with _alone(into / f".{place.name}.lock"):
            missing = [file for file in self.files if not _is_at(place / file.name, file.size)]
            if missing:
                self._copy(missing, place)
        return place

    @property
    def _name(self) -> str:
        told = repr((self.address, self.files))
        own = posixpath.basename(self.address) or "model"
        return f"{own}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"

    def _copy(self, files: list[FolderFile], place: Path) -> None:
        needed, free = sum(file.size for file in files), shutil.disk_usage(place.parent).free
        if needed + _SPARE_BYTES > free:
            raise OSError(
                errno.ENOSPC,
                f"{needed / 1e9:.1f} GB of {display_uri(self.address)} do not fit {place.parent}, "
                f"where {free / 1e9:.1f} GB are free",
            )
        logger.info("fetching %.1f GB of %s", needed / 1e9, display_uri(self.address))
        for file in files:
            path = place / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.part")
            with part.open("wb") as out, ThreadPoolExecutor(_AT_ONCE) as pool:

                def copy(start: int, file: FolderFile = file, out: int = out.fileno()) -> None:
                    stop = min(start + _RANGE_BYTES, file.size)
                    _write_at(out, self.read(file, start, stop), start)

                for _ in pool.map(copy, range(0, file.size, _RANGE_BYTES)):
                    pass
                # Its name is the proof that all of it is there.
                os.fsync(out.fileno())
            part.replace(path)


def _files(address: str, options: StorageOptions) -> Iterator[FolderFile]:
    # Drivers name what they find by their own form of an address.
    below = f"{address.partition('://')[2]}/"
    for found in client_of(scheme_of(address), options).below(address):
        yield FolderFile(found.uri.partition(below)[2], found.size, found.version)


def _is_at(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _write_at(file: int, data: bytes, start: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, start)
        view, start = view[written:], start + written


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of this machine that a file stands for."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
