"""A child process that decodes, so that a hostile file costs one row and never an actor.

The parent opens the file, with its credentials and its network, and hands over the bytes that the
child asks for, in memory that both see; the child has neither.
"""

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
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.confinement.answers import (
    BYTES,
    DATA,
    ERROR,
    ERROR_BYTES,
    HEADER,
    NO_DATA,
    READY,
    READY_BYTES,
    ROW,
    SPAN,
    checked_error,
    checked_layers,
    checked_row,
    checked_span,
    most_bytes,
    most_read,
)
from actors.confinement.watching import resident_mb, warn_of
from actors.decoding.reading import ReadingCosts
from actors.storage.access import StoredFile, open_file
from actors.storage.range_reader import MAX_REQUEST_BYTES
from actors.storage.segments import segment_of
from actors.storage.uris import split_segment
from schemas.budget import Budget
from schemas.errors import (
    DecoderCrashedError,
    DecoderFaultError,
    DecodeTimeoutError,
    MediaLimitError,
    OpenError,
    RayjobError,
    SegmentError,
    StorageUnavailableError,
)
from schemas.media import WHOLE, DecodeLimits, SamplingPlan, Segment, StorageOptions

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


class DecodeSandbox(contextlib.AbstractContextManager["DecodeSandbox"]):
    """Decode in a persistent child process, which is replaced when it dies or hangs.

    Not thread-safe; one per actor.

    Args:
        limits: wall time, memory, pixels and duration per video.
        storage: how to reach the storage.
        budget: what the model can be shown of a video; None where no model is to see it.
    """

    def __init__(
        self, limits: DecodeLimits, storage: StorageOptions, budget: Budget | None = None
    ) -> None:
        self._limits = limits
        self._budget = budget
        self._storage = storage
        self._child: _Child | None = None
        self._kept: tuple[str, StoredFile] | None = None

    def layers(self) -> dict[str, str]:
        """For each of ``actors.confinement.layers.LAYERS``, "" where the child is confined by it,
        else why it is not.

        Raises:
            DecoderFaultError: the child does not start.
        """
        return self._ready().layers

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return self._child.pid if self._child is not None else None

    def decode(self, uri: str, plan: SamplingPlan) -> pa.RecordBatch:
        """Decode what ``plan`` wants of the video at ``uri``, or of the segment that it names.

        Between two segments of one file, the file stays open.

        Returns:
            One row of ``schemas.blocks.VIDEO``, checked; ``schemas.blocks.video_of`` reads it.

        Raises:
            VideoError: whatever :func:`actors.storage.segments.segment_of`,
                :func:`actors.storage.access.open_file` and the decoder raise.
            StorageUnavailableError: it took longer than ``limits.wall_seconds``, most of it
                waiting for the storage.
            DecodeTimeoutError: it took longer than that for another reason.
            DecoderCrashedError: the child died, or passed ``limits.memory_mb``.
            DecoderFaultError: an error that nobody foresaw, or an answer that makes no sense.
        """
        address, segment = split_segment(uri)[0], segment_of(uri) or WHOLE
        child = self._ready()
        again = segment != WHOLE and self._kept is not None and self._kept[0] == address
        deadline = time.monotonic() + self._limits.wall_seconds
        if not again:
            self._forget()
            file = open_file(address, self._storage, deadline=deadline)
            self._kept = address, file
        assert self._kept is not None
        file, keep = self._kept[1], False
        file.deadline = deadline
        try:
            row = child.decode(file, plan, segment, deadline, again=again)
            keep = segment != WHOLE
            return row
        except SegmentError:
            keep = True
            raise
        finally:
            if not keep:
                self._forget()
            if not child.idle:
                self.close()

    def _forget(self) -> None:
        """Close the file that was kept; the child does the same."""
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None

    def _ready(self) -> _Child:
        if self._child is None or not self._child.ready():
            self.close()
            self._child = _Child(self._limits, ReadingCosts.of(self._storage), self._budget)
        return self._child

    def close(self) -> None:
        """End the child process."""
        self._forget()
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
        layers: see :meth:`DecodeSandbox.layers`.
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
        self.idle = False
        self._deadline, self._storage_sec, self._failure = deadline, 0.0, None
        self._ask(
            {
                "name": file.name,
                "size": file.size,
                "plan": plan.model_dump(),
                "segment": [segment.begin, segment.end],
                "again": again,
            }
        )
        if self._budget is not None:
            plan = self._budget.widest(plan)
        most = {ROW: most_bytes(plan, self._limits), BYTES: SPAN.size}
        read = 0
        while True:
            kind, payload = self._answer(most)
            if kind == ROW:
                break
            start, stop = checked_span(payload, file.size)
            read += stop - start
            if read > most_read(file.size):
                raise MediaLimitError(f"decoding reads more than {read} bytes of {file.size}")
            self._hand_over(file, start, stop)
        row = checked_row(payload, plan)
        self.idle = True
        if self._failure is not None:
            raise self._failure
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
        self._window.close()

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
