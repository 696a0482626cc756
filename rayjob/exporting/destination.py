"""Where an export goes: a file, or a folder whose index tells which of its files count.

Either appears whole: a file by replacing the one before, a folder by its index, which is
written after everything that it names and before what it no longer names is deleted.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from rayjob.output.store import TableStore
from schemas.errors import UsageError
from schemas.media import StorageOptions


def _store(where: str, options: StorageOptions) -> TableStore:
    store = TableStore(where, options)
    store.temporary = ".rayjob-export"
    return store


def _tidy(store: TableStore) -> None:
    """Remove the folder of unfinished files, if nothing is in it."""
    if store.is_local:
        with contextlib.suppress(OSError):
            os.rmdir(store.full(store.temporary))


class File:
    """A file to be replaced.

    Args:
        where: its path or s3:// address.

    Raises:
        UsageError: that is a folder.
    """

    def __init__(self, where: str, options: StorageOptions) -> None:
        folder, slash, self._name = where.rpartition("/")
        if not self._name:
            raise UsageError(f"--output {where} is a folder; this format is one file")
        self._store = _store(folder or slash or ".", options)
        self.url = self._store.url_of(self._name)

    def write(self, lines: Iterable[str]) -> None:
        """Replace it. Raises as :meth:`TableStore.write_lines`."""
        self._store.write_lines(self._name, lines)
        _tidy(self._store)


class Folder:
    """A folder to be filled anew.

    Args:
        where: its path or s3:// address.
        data: the folder in it that holds the exports' files.

    Attributes:
        generation: the folder of this export's files, from the root.
    """

    def __init__(self, where: str, options: StorageOptions, *, data: str) -> None:
        self.store = _store(where, options)
        self.url = self.store.url
        self._data = data
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.generation = f"{data}/{stamp}-{secrets.token_hex(2)}"

    def publish(self, write_index: Callable[[], None]) -> None:
        """Make this export's files those that count, and delete those before."""
        before = [entry.path for entry in self.store.list(self._data)]
        write_index()
        for path in before:
            if not path.startswith(f"{self.generation}/"):
                self.store.delete(path)
        _tidy(self.store)
