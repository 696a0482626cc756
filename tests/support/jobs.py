"""Runs the job as a user does: the command in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.dataset as ds
import pytest

ROOT = Path(__file__).parents[2]
DEMO = ("--config", "configs/demo.yaml")
CAPTION = "rayjob.caption"
FUSE = "rayjob.fuse"
SPLIT = "rayjob.split"
EXPORT = "rayjob.export"
TIMEOUT = 240
TWO_EXECUTORS = (
    "--set", "executors=2", "--engines", "2", "--set", "engine.cpus_per_engine=0.5",
    "--set", "decode.actors=2", "--set", "decode.cpus_per_actor=0.5",
)  # fmt: skip
"""Two executors with an engine and a decoder each, on this machine."""

NEEDS_NAMESPACES = pytest.mark.skipif(
    subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode != 0,
    reason="this machine has no namespaces of users to take away",
)
WITHOUT_NAMESPACES = (
    "unshare", "--user", "--map-root-user", "sh", "-c",
    'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"', "sh",
)  # fmt: skip
"""Before a command: its kernel refuses it namespaces of users, as most containers' do."""


@dataclass(frozen=True)
class Done:
    """A finished command.

    Attributes:
        cpu_sec: CPU time of the command and of the processes that it waited for.
    """

    code: int
    stdout: str
    stderr: str
    cpu_sec: float

    @property
    def summary(self) -> dict[str, Any]:
        """The last line of stdout."""
        summary: dict[str, Any] = json.loads(self.stdout.strip().splitlines()[-1])
        return summary


def command(arguments: Sequence[str | os.PathLike[str]], *, module: str = CAPTION) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def caption(
    *arguments: str | os.PathLike[str],
    env: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
    before: Sequence[str] = (),
) -> Done:
    """``python -m rayjob.caption ARGUMENTS``, to its end; ``before`` stands before ``python``."""
    return _finished([*before, *command(arguments)], env=env, timeout=timeout)


def fuse(
    *arguments: str | os.PathLike[str],
    env: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> Done:
    """``python -m rayjob.fuse ARGUMENTS``, to its end."""
    return run(FUSE, *arguments, env=env, timeout=timeout)


def split(
    *arguments: str | os.PathLike[str],
    env: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> Done:
    """``python -m rayjob.split ARGUMENTS``, to its end."""
    return run(SPLIT, *arguments, env=env, timeout=timeout)


def run(
    module: str,
    *arguments: str | os.PathLike[str],
    env: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> Done:
    """``python -m MODULE ARGUMENTS``, to its end."""
    return _finished(command(arguments, module=module), env=env, timeout=timeout)


def kill(
    *arguments: str | os.PathLike[str],
    once: Callable[[], bool],
    module: str = CAPTION,
    env: Mapping[str, str] | None = None,
) -> None:
    """Start ``python -m MODULE ARGUMENTS``, and end it by ``kill -9`` once a condition holds."""
    process = subprocess.Popen(
        command(arguments, module=module),
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + TIMEOUT
        while not once():
            assert process.poll() is None, "the job ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def check(*arguments: str | os.PathLike[str], env: Mapping[str, str] | None = None) -> Done:
    """``python -m rayjob.check ARGUMENTS``, to its end."""
    return _finished(command(arguments, module="rayjob.check"), env=env, timeout=TIMEOUT)


def _finished(words: list[str], *, env: Mapping[str, str] | None, timeout: float) -> Done:
    before = _cpu_of_children()
    done = subprocess.run(
        words,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Done(done.returncode, done.stdout, done.stderr, _cpu_of_children() - before)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def is_engine(process: psutil.Process) -> bool:
    """Whether it is vLLM's process for a model, which has the title that vLLM gives it or, where
    that could not be set, the command line it was spawned with.
    """
    command = " ".join(process.cmdline())
    return "VLLM::EngineCore" in command or "multiprocessing.spawn" in command


def executors_of(driver: psutil.Process) -> list[psutil.Process]:
    """Executors in actors of a Ray that the driver has started."""
    return [
        each
        for each in driver.children(recursive=True)
        if each.status() != psutil.STATUS_ZOMBIE and "ray::_Executor" in " ".join(each.cmdline())
    ]


def read(output: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table, by a plain read."""
    if not (output / table).exists():
        return []
    rows: list[dict[str, Any]]
    rows = ds.dataset(output / table, format="parquet", partitioning="hive").to_table().to_pylist()
    return rows


def captions(output: Path) -> dict[str, str]:
    """video_id -> caption; fails on a key that stands twice."""
    rows = read(output, "captions")
    told = {row["video_id"]: row["caption"] for row in rows}
    assert len(told) == len(rows), "a key stands twice"
    return told
