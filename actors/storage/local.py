"""Local files."""

from __future__ import annotations

import os
import stat

from schemas.errors import (
    AccessDeniedError,
    NoSuchPlaceError,
    NotAVideoError,
    NotFoundError,
    OpenError,
    StorageUnavailableError,
)


class LocalFile:
    """A regular file, open for reads at any place.

    Args:
        path: where it is.

    Attributes:
        size: its bytes when it was opened.
        version: which content it has: "SIZE-MTIME", in bytes and nanoseconds.

    Raises:
        NotFoundError, NoSuchPlaceError, AccessDeniedError: as they say.
        NotAVideoError: it is a folder, a pipe or a device.
        OpenError: it cannot be opened for another reason.
    """

    def __init__(self, path: str) -> None:
        try:
            # Look before opening: opening a named pipe would wait for a writer.
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise NotAVideoError(f"{path} is not a regular file")
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise _missing(path) from None
        except PermissionError:
            raise AccessDeniedError(f"no permission to read {path}") from None
        except (OSError, ValueError) as error:
            raise OpenError(f"cannot open {path}: {error}") from None
        self.size = status.st_size
        self.version = f"{status.st_size}-{status.st_mtime_ns}"

    def fetch(self, start: int, stop: int) -> bytes:
        """The bytes of a range inside the file."""
        parts = []
        while start < stop:
            part = os.pread(self._descriptor, stop - start, start)
            if not part:
                raise StorageUnavailableError("the file became shorter while it was read")
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _missing(path: str) -> NotFoundError:
    """What a missing file means: a disk that is not mounted leaves no folder, or an empty one."""
    try:
        with os.scandir(os.path.dirname(path) or ".") as entries:
            has_neighbours = next(entries, None) is not None
    except OSError:
        has_neighbours = False
    if has_neighbours:
        return NotFoundError(f"there is no file {path}")
    return NoSuchPlaceError(f"there is no file {path}: its folder is missing or empty")
