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
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import schemas.errors
from actors.decoding.answers import (
    ERROR,
    ERROR_BYTES,
    HEADER,
    READY,
    ROW,
    BadAnswerError,
    checked_error,
    checked_row,
    most_bytes,
)
from schemas.errors import (
    DecoderCrashedError,
    DecoderFaultError,
    DecodeTimeoutError,
    RayjobError,
    VideoError,
)
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions

_BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from actors.decoding.child import main; main()"
)
"""A fresh interpreter that finds modules where this one does, however that was set up."""

_WATCH_SEC = 0.05
"""How often the child's memory is looked at; see ``actors.decoding.child.BACKSTOP_MB``."""

_START_SEC = 60.0
_PIPE_BYTES = 1 << 20
_ERRORS: dict[str, type[RayjobError]] = {
    name: kind
    for name, kind in vars(schemas.errors).items()
    if isinstance(kind, type) and issubclass(kind, (VideoError, DecoderFaultError))
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

    def decode(self, uri: str, plan: SamplingPlan) -> pa.RecordBatch:
        """Decode what ``plan`` wants of the video at ``uri``.

        Returns:
            One row of ``schemas.blocks.CLIP``, checked; ``schemas.blocks.clip_of`` reads it.

        Raises:
            VideoError: whatever :func:`actors.storage.access.open_range` and
                :func:`actors.decoding.decoder.decode` raise.
            DecodeTimeoutError: it took longer than ``limits.wall_seconds``.
            DecoderCrashedError: the child died, or passed ``limits.memory_mb``.
            DecoderFaultError: an error that nobody foresaw, or an answer that makes no sense.
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
        self._look_at = 0.0
        setup = {"limits": limits.model_dump(), "storage": storage.model_dump()}
        try:
            self._ask(setup)
            kind, _ = self._answer(0)
        except (BrokenPipeError, BadAnswerError, _Gone, _Late, _TooBig):
            kind = ERROR
        if kind != READY:
            self.kill()
            raise DecoderCrashedError(
                f"the decoding process does not start: {self._ending()}", died=True
            )
        self.idle = True

    def decode(self, uri: str, plan: SamplingPlan) -> pa.RecordBatch:
        self.idle = False
        self._deadline = time.monotonic() + self._limits.wall_seconds
        try:
            self._ask({"uri": uri, "plan": plan.model_dump()})
            kind, payload = self._answer(most_bytes(plan, self._limits))
            if kind == ERROR:
                name, message, trace = checked_error(payload)
                if name not in _ERRORS:
                    raise BadAnswerError(f"an error of the kind {name[:80]!r}")
                error = _ERRORS[name](message)
                if trace:
                    error.add_note(trace)
                self.idle = True
                raise error
            row = checked_row(payload, plan)
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
        except BadAnswerError as error:
            self.kill()
            raise DecoderFaultError(f"the decoding process answered nonsense: {error}") from None
        self.idle = True
        return row

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

    def _ask(self, request: dict[str, Any]) -> None:
        data = memoryview(json.dumps(request).encode() + b"\n")
        while data:
            data = data[os.write(self._requests, data) :]

    def _answer(self, most: int) -> tuple[bytes, pa.Buffer]:
        """Read an answer; a row of up to ``most`` bytes."""
        kind, size = HEADER.unpack(self._read(HEADER.size).data)
        allowed = {READY: 0, ERROR: ERROR_BYTES, ROW: most}.get(kind, -1)
        if size > allowed:
            raise BadAnswerError(f"{size} bytes of kind {kind!r}")
        return kind, pa.py_buffer(self._read(size))

    def _read(self, size: int) -> npt.NDArray[np.uint8]:
        """Read so many bytes, watching the clock and the child's memory."""
        # Pages that no byte has arrived for take no memory.
        array = np.empty(size, dtype=np.uint8)
        left = array.data
        while left:
            now = time.monotonic()
            if now >= self._deadline:
                raise _Late
            if now >= self._look_at:
                if _resident_mb(self.pid) > self._limits.memory_mb:
                    raise _TooBig
                self._look_at = now + _WATCH_SEC
            try:
                count = os.readv(self._answers, [left])
            except BlockingIOError:
                self._poll.poll(1000 * min(self._deadline - now, _WATCH_SEC))
                continue
            if count == 0:
                raise _Gone
            left = left[count:]
        return array

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
