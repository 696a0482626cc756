"""What an output on a local disk asks of the file system."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from schemas.errors import OutputUnavailableError


def files_below(top: str) -> dict[str, tuple[int, float]]:
    """Bytes and time of the last change, in seconds since 1970, of every file below a folder.

    Raises:
        FileNotFoundError, PermissionError: of the folder.
        OutputUnavailableError: the disk fails.
    """

    def fail(error: OSError) -> None:
        # A folder that cannot be read must not look like an empty one: what it holds would
        # be captioned again.
        if isinstance(error, PermissionError) or not os.path.exists(top):
            raise error
        raise OutputUnavailableError(f"cannot list {top}: {reason(error)}") from error

    found = {}
    for parent, _folders, names in os.walk(top, onerror=fail):
        for name in names:
            path = os.path.join(parent, name)
            with contextlib.suppress(FileNotFoundError):  # deleted in this moment
                status = os.stat(path)
                found[path] = status.st_size, status.st_mtime
    return found


def move_once(source: Path, target: Path) -> None:
    """Rename a file to a name that is free; FileExistsError where it is not."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(f"{target} is there already") from None
        os.replace(source, target)
    else:
        source.unlink()


def reason(error: BaseException) -> str:
    """An error as the end of a message."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
