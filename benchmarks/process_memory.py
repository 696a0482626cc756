"""Peak memory of a command's processes, by what they do: sampled with psutil while it runs.

Ray's workers map the object store, so that the same page is in the resident memory of
several of them. ``private`` leaves shared pages out (RSS - shared, the highest sample);
``resident`` is the kernel's own high-water mark of everything (VmHWM), an upper bound that
needs no luck in sampling. The object store is what the files of shared memory that the raylet
holds open take of it; pages once used stay allocated, so the last value is the peak.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_INTERVAL_SEC = 0.3
_MB = 1e6
_ROLES = {"Decoder": "decode", "Captioner": "engine", "raylet": "raylet"}
"""What is in the title or name of a process -> its role."""


@dataclass
class Peaks:
    """MB by role, each the largest of any single process.

    Attributes:
        private: without shared pages.
        resident: with them.
        store: of the object store.
    """

    private: dict[str, float] = field(default_factory=dict)
    resident: dict[str, float] = field(default_factory=dict)
    store: float = 0.0


def run(command: Sequence[str]) -> tuple[str, Peaks]:
    """Run a command to its end; its standard output, and what its processes took.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    peaks = Peaks()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        over = threading.Event()
        sampler = threading.Thread(target=_sample, args=(process.pid, peaks, over))
        sampler.start()
        out, _ = process.communicate()
        over.set()
        sampler.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return out, peaks


def _sample(root: int, peaks: Peaks, over: threading.Event) -> None:
    while not over.wait(_INTERVAL_SEC):
        try:
            processes = psutil.Process(root).children(recursive=True)
            _take(root, processes, peaks)
        except psutil.NoSuchProcess:
            continue


def _take(root: int, processes: Iterable[psutil.Process], peaks: Peaks) -> None:
    roles = {root: "driver"}
    for process in [psutil.Process(root), *processes]:
        try:
            role = roles.get(process.pid) or _role(process, roles)
            roles[process.pid] = role
            memory = process.memory_info()
            high = _high_water_mark(process.pid)
            if role == "raylet":
                peaks.store = max(peaks.store, _shared_files(process.pid))
        except (psutil.Error, OSError):
            continue  # it ended meanwhile
        private = (memory.rss - memory.shared) / _MB
        peaks.private[role] = max(peaks.private.get(role, 0.0), private)
        peaks.resident[role] = max(peaks.resident.get(role, 0.0), high)


def _role(process: psutil.Process, roles: dict[int, str]) -> str:
    """By its title; a child without one works for its parent, as the decoder's sandbox does."""
    title = " ".join(process.cmdline()) + process.name()
    for word, role in _ROLES.items():
        if word in title:
            return role
    parent = roles.get(process.ppid(), "")
    return parent if parent in ("decode", "engine") else "Ray"


def _shared_files(pid: int) -> float:
    """MB allocated to the files in shared memory that a process holds open, deleted or not."""
    found: dict[int, int] = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        if link.readlink().is_relative_to("/dev/shm"):
            facts = link.stat()
            found[facts.st_ino] = facts.st_blocks * 512
    return sum(found.values()) / _MB


def _high_water_mark(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024 / _MB
    return 0.0
