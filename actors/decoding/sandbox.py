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
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.decoding.answers import (
    ERROR,
    ERROR_BYTES,
    HEADER,
    READY,
    ROW,
    checked_error,
    checked_row,
    most_bytes,
)
from schemas.budget import Budget
from schemas.errors import (
    DecoderCrashedError,
    DecoderFaultError,
    DecodeTimeoutError,
    RayjobError,
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


class DecodeSandbox(contextlib.AbstractContextManager["DecodeSandbox"]):
    """Decode in a persistent child process, which is replaced when it dies or hangs.

    Not thread-safe; one per actor.

    Args:
        limits: wall time, memory, pixels and duration per video.
        storage: how to reach the storage. Credentials are the child's environment's.
        budget: what the model can be shown of a video; None where no model is to see it.
    """

    def __init__(
        self, limits: DecodeLimits, storage: StorageOptions, budget: Budget | None = None
    ) -> None:
        self._limits = limits
        self._budget = budget
        self._storage = storage
        self._child: _Child | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return self._child.pid if self._child is not None else None

    def decode(self, uri: str, plan: SamplingPlan) -> pa.RecordBatch:
        """Decode what ``plan`` wants of the video at ``uri``.

        Returns:
            One row of ``schemas.blocks.VIDEO``, checked; ``schemas.blocks.video_of`` reads it.

        Raises:
            VideoError: whatever :func:`actors.storage.access.open_range` and
                :func:`actors.decoding.decoder.decode` raise.
            DecodeTimeoutError: it took longer than ``limits.wall_seconds``.
            DecoderCrashedError: the child died, or passed ``limits.memory_mb``.
            DecoderFaultError: an error that nobody foresaw, or an answer that makes no sense.
        """
        if self._child is None or not self._child.ready():
            self.close()
            self._child = _Child(self._limits, self._storage, self._budget)
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

    def __exit__(self, *_: object) -> None:
        """End the child process."""
        self.close()

    def __del__(self) -> None:
        """End the child process of a sandbox that nobody closed."""
        with contextlib.suppress(Exception):
            self.close()


class _Child:
    """One child process.

    Attributes:
        idle: whether it waits for a request; False also once it is dead.
        pid: its process id.
    """

    def __init__(
        self, limits: DecodeLimits, storage: StorageOptions, budget: Budget | None
    ) -> None:
        self.idle = False
        self._limits = limits
        self._budget = budget
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
        setup = {
            "limits": limits.model_dump(),
            "storage": storage.model_dump(),
            "budget": None if budget is None else budget.model_dump(),
        }
        try:
            self._ask(setup)
            self._answer(READY, most=0)
        except RayjobError as error:
            self.kill()
            # Whatever it was, it was before any video.
            raise DecoderFaultError(f"the decoding process does not start: {error}") from None
        self.idle = True

    def decode(self, uri: str, plan: SamplingPlan) -> pa.RecordBatch:
        self.idle = False
        self._deadline = time.monotonic() + self._limits.wall_seconds
        self._ask({"uri": uri, "plan": plan.model_dump()})
        if self._budget is not None:
            plan = self._budget.widest(plan)
        payload = self._answer(ROW, most=most_bytes(plan, self._limits))
        row = checked_row(payload, plan)
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
        try:
            while data:
                data = data[os.write(self._requests, data) :]
        except BrokenPipeError:
            raise self._death() from None

    def _answer(self, wanted: bytes, *, most: int) -> pa.Buffer:
        """Read an answer of up to ``most`` bytes; an error that stands in its place is raised."""
        kind, size = HEADER.unpack(self._read(HEADER.size).data)
        if kind not in (wanted, ERROR) or size > (ERROR_BYTES if kind == ERROR else most):
            raise DecoderFaultError(f"the decoding process announces {size} bytes of {kind!r}")
        payload = pa.py_buffer(self._read(size))
        if kind == ERROR:
            error = checked_error(payload)
            # What nobody foresaw may have left the process in any state.
            self.idle = not isinstance(error, DecoderFaultError)
            raise error
        return payload

    def _read(self, size: int) -> npt.NDArray[np.uint8]:
        """Read so many bytes, watching the clock and the child's memory."""
        # Pages that no byte has arrived for take no memory.
        array = np.empty(size, dtype=np.uint8)
        left = array.data
        while left:
            now = time.monotonic()
            if now >= self._deadline:
                raise DecodeTimeoutError(f"not decoded within {self._limits.wall_seconds:g} s")
            if now >= self._look_at:
                if _resident_mb(self.pid) > self._limits.memory_mb:
                    raise DecoderCrashedError(
                        f"decoding needs more than {self._limits.memory_mb} MB of memory"
                    )
                self._look_at = now + _WATCH_SEC
            try:
                count = os.readv(self._answers, [left])
            except BlockingIOError:
                self._poll.poll(1000 * min(self._deadline - now, _WATCH_SEC))
                continue
            if count == 0:
                raise self._death()
            left = left[count:]
        return array

    def _death(self) -> DecoderCrashedError | DecoderFaultError:
        """Return what the end of the process, which closed its pipe, means."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return DecoderFaultError("the decoding process closed its pipe")
        if code >= 0:
            # Files make it crash; it ends by itself only where its own code fails.
            return DecoderFaultError(f"the decoding process ended with exit status {code}")
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = " (the system ran out of memory?)" if -code == signal.SIGKILL else ""
        return DecoderCrashedError(f"the decoding process died: killed by {name}{hint}", died=True)


def _resident_mb(pid: int) -> float:
    """Return a process's resident memory in MB, 0.0 where /proc does not tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            pages = int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
