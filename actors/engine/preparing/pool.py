"""Processes that prepare an engine's requests, so that its own process only feeds the model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cloudpickle

from actors.engine.preparing.channel import Channel
from schemas.errors import EngineDiedError, PreparationDiedError, PreparationTimeoutError
from schemas.recipe import Request

if TYPE_CHECKING:
    from actors.engine.loading import EngineSettings

_BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from actors.engine.preparing.process import main; main()"
)
"""A fresh interpreter that finds modules where this one does, however that was set up."""

_ENVIRONMENT = {
    # A GPU is the engine's alone.
    "CUDA_VISIBLE_DEVICES": "",
    # As many processes as there are CPUs for it, with one thread each; and one that forks must
    # have no others.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "TOKENIZERS_PARALLELISM": "false",
}

_START_SEC = 600.0
LONGEST_SEC = 120.0
"""One request takes tenths of a second."""

_GRACE_SEC = 3.0
"""When a machine goes down its processes die one after the other. If this one is next, the request
is prepared elsewhere, and must not be blamed meanwhile."""


class PreparePool:
    """A :class:`actors.engine.preparing.here.Preparer`: several processes beside the engine's own.

    Each has one request at a time; one that died or takes too long is replaced, and costs no other
    request anything. They end when this process does.

    Args:
        settings: of the engine.
        config: vLLM's ``VllmConfig``, as the engine has it.
        processes: how many.
    """

    def __init__(self, settings: EngineSettings, config: Any, *, processes: int) -> None:
        self._orders, end = Channel.pair()
        with end:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOTSTRAP, json.dumps(sys.path), str(end.fileno())],
                stdin=subprocess.DEVNULL,
                env=os.environ | _ENVIRONMENT,
                pass_fds=(end.fileno(),),
            )
        # By cloudpickle, since a checkpoint's own code has classes that no import finds. That the
        # process is gone is seen where it is waited for.
        with contextlib.suppress(BrokenPipeError):
            self._orders.send((settings, cloudpickle.dumps(config)))
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="prepare")
        # As many as threads, so that none waits for one; None is one that is yet to start.
        self._idle = queue.SimpleQueue[_Worker | None]()
        for _ in range(processes):
            self._idle.put(None)

    def wait_until_ready(self, request: Request | None = None) -> None:
        """Return when requests can be prepared.

        Args:
            request: one to try.

        Raises:
            EngineDiedError: the processes do not start.
            RayjobError, RuntimeError: what the request ended with.
        """
        try:
            self._orders.receive(_START_SEC)
        except (EOFError, TimeoutError) as error:
            raise EngineDiedError("the process that prepares requests does not start") from error
        if request is not None:
            self._ask(request)

    async def prepare(self, request: Request) -> Any:
        """See :class:`actors.engine.preparing.here.Preparer`; twice where a process died of it."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._ask, request)
        except PreparationDiedError:
            await asyncio.sleep(_GRACE_SEC)
            return await loop.run_in_executor(self._threads, self._ask, request)

    def _ask(self, request: Request) -> Any:
        """On one of the threads."""
        worker = self._idle.get()
        try:
            worker = worker or _Worker(self._orders)
            answer = worker.ask(request)
        except BaseException:
            if worker is not None:
                worker.close()
            worker = None
            raise
        finally:
            self._idle.put(worker)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Stop the processes, once they are through with what they have."""
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            if (worker := self._idle.get()) is not None:
                worker.close()
        self._orders.close()
        self._process.wait()


class _Worker:
    """One process."""

    def __init__(self, orders: Channel) -> None:
        # The answer comes when the request is not used any more.
        self._channel, end = Channel.pair(reuses=True)
        with end:
            try:
                orders.send_end(end)
            except OSError as error:
                raise EngineDiedError("the process that prepares requests is gone") from error
        try:
            self._pid: int = self._channel.receive(LONGEST_SEC)
        except (EOFError, TimeoutError) as error:
            raise EngineDiedError("no further process starts that prepares requests") from error

    def ask(self, request: Request) -> Any:
        """What was prepared, or the error."""
        began = time.monotonic()
        try:
            self._channel.send(request)
            return self._channel.receive(LONGEST_SEC)
        except TimeoutError as error:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            raise PreparationTimeoutError(
                f"preparing the request took more than {LONGEST_SEC:.0f} s"
            ) from error
        except (EOFError, OSError) as error:
            raise PreparationDiedError(
                f"the process that prepared the request died after {time.monotonic() - began:.1f} s"
            ) from error

    def close(self) -> None:
        """Let the process end."""
        self._channel.close()
