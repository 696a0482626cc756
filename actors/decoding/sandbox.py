"""A child process that decodes, so that a hostile file costs one row and never an actor."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

import schemas.errors
from actors.decoding.wire import read_header, receive_clip, write_message
from schemas.errors import DecoderCrashedError, DecodeTimeoutError, VideoError
from schemas.media import Clip, DecodeLimits, SamplingPlan, StorageOptions

_BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from actors.decoding.child import main; main()"
)
"""A fresh interpreter that finds modules where this one does, however that was set up."""

_WATCH_SEC = 0.05
"""How often the child's memory is looked at; see ``_decode_child.BACKSTOP_MB``."""

_START_SEC = 60.0
_PIPE_BYTES = 1 << 20
_ERRORS = {
    name: kind
    for name, kind in vars(schemas.errors).items()
    if isinstance(kind, type) and issubclass(kind, VideoError)
}


class DecodeSandbox:
    """Decode in a persistent child process, which is replaced when it dies or hangs.

    Not thread-safe; one per actor.

    Args:
        limits: wall time, memory, pixels and duration per video.
        storage: how to reach the storage. Credentials are the child's environment's.
    """

    def __init__(self, limits: DecodeLimits, storage: StorageOptions) -> None:
        self._limits = limits
        self._storage = storage
        self._child: _Child | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return self._child.pid if self._child is not None else None

    def decode(self, uri: str, plan: SamplingPlan) -> Clip:
        """Decode what ``plan`` wants of the video at ``uri``.

        Raises:
            VideoError: whatever :func:`actors.storage.access.open_range` and
                :func:`actors.decoding.decoder.decode` raise.
            DecodeTimeoutError: it took longer than ``limits.wall_seconds``.
            DecoderCrashedError: the child died, or passed ``limits.memory_mb``.
        """
        if self._child is None or not self._child.ready():
            self.close()
            self._child = _Child(self._limits, self._storage)
        try:
            return self._child.decode(uri, plan)
        finally:
            if not self._child.idle:
                self.close()

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def __enter__(self) -> Self:
        """Return the sandbox itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the child process."""
        self.close()

    def __del__(self) -> None:
        """End the child process of a sandbox that nobody closed."""
        with contextlib.suppress(Exception):
            self.close()


class _Gone(Exception):
    """The child closed its pipe."""


class _Late(Exception):
    """The deadline passed."""


class _TooBig(Exception):
    """The child uses too much memory."""


class _Child:
    """One child process.

    Attributes:
        idle: whether it waits for a request; False also once it is dead.
        pid: its process id.
    """

    def __init__(self, limits: DecodeLimits, storage: StorageOptions) -> None:
        self.idle = False
        self._limits = limits
        self._deadline = time.monotonic() + _START_SEC
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOTSTRAP, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self.pid = self._process.pid
        self._requests = self._process.stdin.fileno()
        self._answers = self._process.stdout.fileno()
        os.set_blocking(self._answers, False)
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        setup = {"limits": limits.model_dump(), "storage": storage.model_dump()}
        try:
            write_message(self._requests, setup)
            ready = read_header(self._read)
        except (BrokenPipeError, _Gone, _Late, _TooBig):
            ready = None
        if ready is None:
            self.kill()
            raise DecoderCrashedError(
                f"the decoding process does not start: {self._ending()}", died=True
            )
        self.idle = True

    def decode(self, uri: str, plan: SamplingPlan) -> Clip:
        self.idle = False
        self._deadline = time.monotonic() + self._limits.wall_seconds
        try:
            write_message(self._requests, {"uri": uri, "plan": plan.model_dump()})
            header = read_header(self._read)
            if header is None:
                raise _Gone
            if header["kind"] == "error":
                self.idle = True
                raise _ERRORS[header["error"]](header["message"])
            clip = receive_clip(self._read, header)
            if clip is None:
                raise _Gone
        except _Late:
            self.kill()
            raise DecodeTimeoutError(
                f"not decoded within {self._limits.wall_seconds:g} s"
            ) from None
        except _TooBig:
            self.kill()
            raise DecoderCrashedError(
                f"decoding needs more than {self._limits.memory_mb} MB of memory"
            ) from None
        except (_Gone, BrokenPipeError):
            raise DecoderCrashedError(
                f"the decoding process died: {self._ending()}", died=True
            ) from None
        self.idle = True
        return clip

    def ready(self) -> bool:
        """Return whether it waits for a request."""
        return self.idle and self._process.poll() is None

    def kill(self) -> None:
        """End the process at once, and wait for it."""
        self.idle = False
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self, buffer: memoryview) -> int:
        """Read some bytes of the answer, watching the clock and the child's memory."""
        while True:
            try:
                count = os.readv(self._answers, [buffer])
            except BlockingIOError:
                pass
            else:
                return count
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise _Late
            self._poll.poll(1000 * min(left, _WATCH_SEC))
            if _resident_mb(self._process.pid) > self._limits.memory_mb:
                raise _TooBig

    def _ending(self) -> str:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        if code >= 0:
            return f"exit status {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = " (the system ran out of memory?)" if -code == signal.SIGKILL else ""
        return f"killed by {name}{hint}"


def _resident_mb(pid: int) -> float:
    """Return a process's resident memory in MB, 0.0 where /proc does not tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            pages = int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
