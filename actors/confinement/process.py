"""The child process seen from its parent: what it is asked, and what is believed of its answers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.confinement.answers import (
    BYTES,
    CLIP,
    DATA,
    ERROR,
    ERROR_BYTES,
    HEADER,
    NO_DATA,
    READY,
    READY_BYTES,
    ROW,
    SPAN,
    checked_clip,
    checked_error,
    checked_layers,
    checked_row,
    checked_span,
    most_bytes,
    most_read,
)
from actors.confinement.watching import resident_mb, warn_of
from actors.decoding.reading import ReadingCosts
from actors.storage.access import StoredFile
from actors.storage.range_reader import MAX_REQUEST_BYTES
from schemas.budget import Budget
from schemas.errors import (
    DecoderCrashedError,
    DecoderFaultError,
    DecodeTimeoutError,
    MediaLimitError,
    OpenError,
    RayjobError,
    StorageUnavailableError,
)
from schemas.media import DecodeLimits, SamplingPlan, Segment

T = TypeVar("T")

_BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from actors.confinement.child import main; main()"
)
"""A fresh interpreter that finds modules where this one does, however that was set up."""

_ENVIRONMENT = {
    # Threads would keep the child from leaving its namespaces: of NumPy's linear algebra, which
    # it does not use, and of Arrow's memory.
    "OMP_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
} | {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
"""All that the child's environment holds; some interpreters find their own library by the last."""

_WATCH_SEC = 0.05
"""How often the child's memory is looked at; see ``actors.confinement.child.BACKSTOP_MB``."""

_START_SEC = 60.0
_PIPE_BYTES = 1 << 20


class DecodingProcess:
    """One child process.

    Attributes:
        idle: whether it waits for a request; False also once it is dead.
        pid: its process id.
        layers: see :meth:`actors.confinement.sandbox.DecodeSandbox.layers`.
    """

    def __init__(self, limits: DecodeLimits, costs: ReadingCosts, budget: Budget | None) -> None:
        self.idle = False
        self._limits = limits
        self._budget = budget
        self._deadline = time.monotonic() + _START_SEC
        self._storage_sec = 0.0
        self._failure: OpenError | None = None
        window = os.memfd_create("file", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.truncate(window, MAX_REQUEST_BYTES)
            # Memory that the child could take away would end this process when it writes there.
            fcntl.fcntl(window, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
            self._window = mmap.mmap(window, MAX_REQUEST_BYTES)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOTSTRAP, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=_ENVIRONMENT,
                pass_fds=(window,),
            )
        finally:
            os.close(window)
        assert self._process.stdin is not None and self._process.stdout is not None
        self.pid = self._process.pid
        self._requests = self._process.stdin.fileno()
        self._answers = self._process.stdout.fileno()
        for pipe in (self._requests, self._answers):
            os.set_blocking(pipe, False)
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._look_at = 0.0
        setup = {
            "limits": limits.model_dump(),
            "costs": asdict(costs),
            "budget": None if budget is None else budget.model_dump(),
            "window": window,
        }
        try:
            self._ask(setup)
            _, payload = self._answer({READY: READY_BYTES})
            self.layers = checked_layers(payload)
        except RayjobError as error:
            self.kill()
            # Whatever it was, it was before any video.
            raise DecoderFaultError(f"the decoding process does not start: {error}") from None
        self.idle = True
        warn_of(tuple(f"{name} ({why})" for name, why in self.layers.items() if why))

    def decode(
        self,
        file: StoredFile,
        plan: SamplingPlan,
        segment: Segment,
        deadline: float,
        *,
        again: bool,
    ) -> pa.RecordBatch:
        """See :meth:`actors.confinement.sandbox.DecodeSandbox.decode`.

        Args:
            again: whether the child still has the file open, from the segment before.
        """
        self._begin(file, {"plan": plan.model_dump()}, segment, deadline, again=again)
        if self._budget is not None:
            plan = self._budget.widest(plan)
        payload = self._result(file, ROW, most_bytes(plan, self._limits))
        return self._settled(checked_row(payload, plan))

    def clip(
        self, file: StoredFile, most: int, segment: Segment, deadline: float, *, again: bool
    ) -> bytes:
        """See :meth:`actors.confinement.sandbox.DecodeSandbox.clip`; ``again`` as in decode."""
        self._begin(file, {"clip": most}, segment, deadline, again=again)
        return self._settled(checked_clip(self._result(file, CLIP, most)))

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
        self._window.close()

    def _begin(
        self,
        file: StoredFile,
        wanted: dict[str, Any],
        segment: Segment,
        deadline: float,
        *,
        again: bool,
    ) -> None:
        """Ask for something of a file."""
        self.idle = False
        self._deadline, self._storage_sec, self._failure = deadline, 0.0, None
        span = [segment.begin, segment.end]
        self._ask({"name": file.name, "size": file.size, "segment": span, "again": again, **wanted})

    def _result(self, file: StoredFile, kind: bytes, most: int) -> pa.Buffer:
        """What was asked for, of so many bytes at most; until it comes, hand over the file."""
        read = 0
        while True:
            answer, payload = self._answer({kind: most, BYTES: SPAN.size})
            if answer == kind:
                return payload
            start, stop = checked_span(payload, file.size)
            read += stop - start
            if read > most_read(file.size):
                raise MediaLimitError(f"decoding reads more than {read} bytes of {file.size}")
            self._hand_over(file, start, stop)

    def _settled(self, result: T) -> T:
        """A result that was checked: only now the child is ready for another request."""
        self.idle = True
        if self._failure is not None:
            raise self._failure
        return result

    def _ask(self, request: dict[str, Any]) -> None:
        self._write(json.dumps(request).encode() + b"\n")

    def _hand_over(self, file: StoredFile, start: int, stop: int) -> None:
        """Read a range for the child; an error is kept, and ends what the child is doing."""
        began = time.monotonic()
        try:
            data = file.fetch(start, stop)
        except OpenError as error:
            self._failure = error
            self._write(HEADER.pack(NO_DATA, 0))
            return
        finally:
            self._storage_sec += time.monotonic() - began
        self._window[: len(data)] = data
        self._write(HEADER.pack(DATA, len(data)))

    def _answer(self, most: dict[bytes, int]) -> tuple[bytes, pa.Buffer]:
        """Read an answer, its kind and its payload; an error that stands in its place is raised.

        Args:
            most: the kinds that may come, and how many bytes each may have.
        """
        kind, size = HEADER.unpack(self._read(HEADER.size).data)
        if size > (most | {ERROR: ERROR_BYTES}).get(kind, -1):
            raise DecoderFaultError(f"the decoding process announces {size} bytes of {kind!r}")
        payload = pa.py_buffer(self._read(size))
        if kind == ERROR:
            error = checked_error(payload)
            # What nobody foresaw may have left the process in any state.
            self.idle = not isinstance(error, DecoderFaultError)
            raise self._failure or error
        return kind, payload

    def _read(self, size: int) -> npt.NDArray[np.uint8]:
        # Pages that no byte has arrived for take no memory.
        array = np.empty(size, dtype=np.uint8)
        left = array.data
        while left:
            self._watch()
            try:
                count = os.readv(self._answers, [left])
            except BlockingIOError:
                self._wait(self._answers, select.POLLIN)
                continue
            if count == 0:
                raise self._death()
            left = left[count:]
        return array

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            self._watch()
            try:
                left = left[os.write(self._requests, left) :]
            except BlockingIOError:
                self._wait(self._requests, select.POLLOUT)
            except BrokenPipeError:
                raise self._death() from None

    def _wait(self, pipe: int, event: int) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        poll.poll(1000 * max(0.0, min(self._deadline - time.monotonic(), _WATCH_SEC)))

    def _watch(self) -> None:
        """Look at the clock and the child's memory; raise where either is over its limit."""
        now = time.monotonic()
        if now >= self._deadline:
            raise self._failure or self._late()
        if now >= self._look_at:
            if resident_mb(self.pid) > self._limits.memory_mb:
                raise DecoderCrashedError(
                    f"decoding needs more than {self._limits.memory_mb} MB of memory"
                )
            self._look_at = now + _WATCH_SEC

    def _late(self) -> RayjobError:
        most = self._limits.wall_seconds
        if self._storage_sec > most / 2:
            return StorageUnavailableError(
                f"not decoded within {most:g} s, {self._storage_sec:.1f} s of them waiting for "
                "the storage"
            )
        return DecodeTimeoutError(f"not decoded within {most:g} s")

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
