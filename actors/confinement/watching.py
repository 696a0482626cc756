"""What can be told of a decoding process from outside."""

from __future__ import annotations

import functools
import logging
import os

logger = logging.getLogger(__name__)


@functools.cache
def warn_of(missing: tuple[str, ...]) -> None:
    """Say, once in each process, which layers of confinement are not on."""
    if missing:
        logger.warning("videos are decoded without %s; see rayjob doctor", ", ".join(missing))


def resident_mb(pid: int) -> float:
    """Return a process's resident memory in MB, 0.0 where /proc does not tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            pages = int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
