"""Files below a local folder, and which content they have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from rayjob.inputs.globs import is_hidden
from schemas.errors import SourceError


def walk(root: str, enters: Callable[[Sequence[str]], bool] | None = None) -> Iterator[str]:
    """Relative paths of all files below a folder, in the order of their bytes.

    Links to folders are followed, but no folder is entered twice, so that loops end. A link
    to nowhere counts as a file: it is an input that cannot be opened, not one that is not
    there. Without ``enters``, hidden files and folders are left out.
    """
    visited: set[tuple[int, int]] = set()

    def below(folders: tuple[str, ...]) -> Iterator[str]:
        folder = os.path.join(root, *folders)
        try:
            status = os.stat(folder)
            with os.scandir(folder) as scan:
                entries = [(each.name, _is_folder(each)) for each in scan]
        except OSError as error:
            raise SourceError(f"the folder {folder} cannot be listed: {error.strerror}") from None
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        entries.sort(key=lambda each: os.fsencode(f"{each[0]}/" if each[1] else each[0]))
        for name, is_folder in entries:
            inner = (*folders, name)
            if enters is None and is_hidden(f"{name}/" if is_folder else name):
                continue
            if not is_folder:
                yield "/".join(inner)
            elif enters is None or enters(inner):
                yield from below(inner)

    return below(())


def disk_version(path: str) -> str | None:
    """Size and time of a file as "SIZE-MTIME"; None where there is nothing to open."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return f"{status.st_size}-{status.st_mtime_ns}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
