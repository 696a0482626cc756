"""Places inside tar and zip archives: what is in one, by its headers alone, and where.

A place is written as fsspec chains addresses: ``tar://MEMBER::s3://bucket/a.tar``, and the same
with ``zip://``. Behind it may stand ``#at=FIRST,SIZE,VERSION``, for as long as a run lasts: where
the member's bytes are in that version of the archive, so that nobody has to look again.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from actors.storage.range_reader import MAX_REQUEST_BYTES, Fetch
from actors.storage.uris import display_uri, scheme_of, split_extent, split_inside
from schemas.errors import NotFoundError, OpenError

COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")

SUFFIXES = (".tar", ".zip", *COMPRESSED_TARS)
"""Ends of names that say that a file is an archive."""

_LEAST, _MOST = 4 << 10, MAX_REQUEST_BYTES
"""Bytes that are read of an archive at once."""

_NEAR = 64 << 10
"""Members so near to each other are read through: another request would take longer."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ZIP_LOCAL, _ZIP_METHOD = b"PK\x03\x04", 0


class Entry(NamedTuple):
    """A file in an archive.

    Attributes:
        name: its path.
        first: where its bytes begin in a tar; in a zip, its own header.
        size: in bytes.
    """

    name: str
    first: int
    size: int


@dataclass(frozen=True)
class Member:
    """A member of an archive, or a cell of a Parquet table.

    Attributes:
        kind: "tar", "zip" or "parquet".
        name: its path, or ``COLUMN/ROW``; "" for the archive as such, which cannot be opened.
        file: address of the archive.
        extent: ``#at=...``, "" where it is not known.
    """

    kind: str
    name: str
    file: str
    extent: str = ""

    @classmethod
    def parse(cls, uri: str) -> Member | None:
        """None for an address that is not of a place inside an archive."""
        uri, extent = split_extent(uri)
        inside, file = split_inside(uri)
        if not inside:
            return None
        return cls(scheme_of(inside), inside.partition("://")[2], file, extent)

    @classmethod
    def at(cls, kind: str, file: str, entry: Entry, version: str | None) -> Member:
        """An entry of a listing, with where it is if the version is known."""
        extent = "" if version is None else f"#at={entry.first},{entry.size},{quote(version)}"
        return cls(kind, entry.name, file, extent)

    @property
    def uri(self) -> str:
        """Its address, with where it is."""
        return f"{self.kind}://{self.name}::{self.file}{self.extent}"

    def __str__(self) -> str:
        return display_uri(self.uri)

    def find(self, fetch: Fetch, size: int, version: str | None) -> tuple[int, int]:
        """First byte and size of its content.

        Args:
            fetch, size, version: of the archive.

        Raises:
            NotFoundError: there is no such member.
            OpenError: it is compressed, or the archive cannot be read.
        """
        entry = self._known(version)
        if entry is None:
            names = _index(self.kind, self.file, size, version, _Unhashed(fetch))
            found = names.get(self.name)
            if found is None:
                raise NotFoundError(f"there is no {self.name!r} in {display_uri(self.file)}")
            entry = Entry(self.name, *found)
        first = entry.first if self.kind == "tar" else self._stored(entry, fetch, size)
        if first + entry.size > size:
            raise OpenError(f"{display_uri(self.file)} is cut off inside {self.name!r}")
        return first, entry.size

    def _stored(self, entry: Entry, fetch: Fetch, size: int) -> int:
        """First byte of a zip's member, which its own header tells."""
        header = fetch(entry.first, min(size, entry.first + _LOCAL_HEADER.size))
        mark, name, extra = _LOCAL_HEADER.unpack(header.ljust(_LOCAL_HEADER.size, b"\0"))
        if mark != _ZIP_LOCAL:
            raise OpenError(f"{display_uri(self.file)} is damaged: no header of {self.name!r}")
        if int.from_bytes(header[8:10], "little") != _ZIP_METHOD or header[6] & 1:
            raise OpenError(
                f"{self.name!r} is compressed or encrypted in {display_uri(self.file)}, and so "
                "cannot be read by range: unpack the archive, or pack it anew without (zip -0)"
            )
        return int(entry.first + _LOCAL_HEADER.size + name + extra)

    def _known(self, version: str | None) -> Entry | None:
        first, _, rest = self.extent.removeprefix("#at=").partition(",")
        size, _, told = rest.partition(",")
        if version is None or unquote(told) != version:
            return None  # another archive has taken its place
        return Entry(self.name, int(first), int(size)) if (first + size).isdecimal() else None


def kind_of(name: str) -> str | None:
    """Return "tar" or "zip" by the end of a file's name, None for another file."""
    if not name.lower().endswith(SUFFIXES):
        return None
    return "zip" if name.lower().endswith(".zip") else "tar"


def entries(kind: str, file: str, fetch: Fetch, size: int) -> Iterator[tuple[Entry, Skimmer]]:
    """The files of an archive in its order, each with a file object to read small ones through.

    Args:
        kind: "tar" or "zip".
        file: its address, for messages.
        fetch, size: of the archive.

    Raises:
        OpenError: it is not such an archive, or is compressed, or cut off.
    """
    shown, skimmer = display_uri(file), Skimmer(fetch, size)
    try:
        if kind == "zip":
            with zipfile.ZipFile(skimmer) as archive:
                for each in archive.infolist():
                    if not each.is_dir():
                        yield Entry(each.filename, each.header_offset, each.file_size), skimmer
            return
        with tarfile.open(fileobj=skimmer, mode="r:") as tar:
            while (found := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
                if found.isfile() and not found.issparse():
                    yield Entry(found.name, found.offset_data, found.size), skimmer
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        if shown.lower().endswith(COMPRESSED_TARS):
            raise OpenError(
                f"{shown} is compressed, and so its members cannot be read by range: decompress "
                "it to a .tar (videos are compressed already)"
            ) from None
        raise OpenError(f"{shown} is not a readable {kind} archive: {error}") from None


@dataclass(frozen=True, eq=False)
class _Unhashed:
    """A function beside the arguments that a cache looks at."""

    fetch: Fetch

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unhashed)


@lru_cache(maxsize=4)
def _index(
    kind: str, file: str, size: int, version: str | None, source: _Unhashed
) -> dict[str, tuple[int, int]]:
    """Where the files of an archive are, by their names."""
    found = entries(kind, file, source.fetch, size)
    return {entry.name: (entry.first, entry.size) for entry, _ in found}


class Skimmer(io.RawIOBase):
    """A file for reading small parts far from each other: what is read at once follows from how
    far they are.

    Args:
        fetch, size: of the file.
    """

    def __init__(self, fetch: Fetch, size: int) -> None:
        super().__init__()
        self.requests = self.bytes_read = 0
        self._fetch, self._size = fetch, size
        self._position = self._first = 0
        self._held = b""
        self._window = _NEAR

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
        """Move to a position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, fewer at the end."""
        stop = self._size if size < 0 else min(self._position + size, self._size)
        if stop <= self._position:
            return b""
        start, held = self._position, self._first + len(self._held)
        if not (self._first <= start and stop <= held):
            if start < self._first:
                self._window = _NEAR
            else:
                self._window = min(2 * self._window, _MOST) if start - held < _NEAR else _LEAST
            self._first = start
            self._held = self._fetch(start, min(self._size, max(stop, start + self._window)))
            self.requests += 1
            self.bytes_read += len(self._held)
        self._position = stop
        return self._held[start - self._first : stop - self._first]
