"""Cutting clips side by side, each in a confined process."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from actors.confinement.sandbox import DecodeSandbox
from schemas.errors import DecoderFaultError, VideoError
from schemas.media import DecodeLimits, StorageOptions

T = TypeVar("T")

Clip = bytes | VideoError | DecoderFaultError
"""An MP4 file, or why there is none."""


class Cutter(contextlib.AbstractContextManager["Cutter"]):
    """Cuts clips.

    Args:
        limits: of one clip.
        storage: how to reach the videos.
        workers: how many are cut at a time.
        most_bytes: of a clip.
    """

    def __init__(
        self, limits: DecodeLimits, storage: StorageOptions, workers: int, most_bytes: int
    ) -> None:
        self._most_bytes = most_bytes
        self._workers = workers
        self._closing = contextlib.ExitStack()
        self._idle: SimpleQueue[DecodeSandbox] = SimpleQueue()
        for _ in range(workers):
            self._idle.put(self._closing.enter_context(DecodeSandbox(limits, storage)))
        self._pool = self._closing.enter_context(ThreadPoolExecutor(workers))

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)
        self._closing.close()

    def cut(self, wanted: Iterable[tuple[str, T]]) -> Iterator[tuple[T, Clip]]:
        """Cut clips, a few ahead of those that were taken.

        Args:
            wanted: the address of a file or a segment, and what it is for.

        Yields:
            (what it is for, the clip), in order.
        """
        cutting: deque[tuple[T, Future[Clip]]] = deque()
        for address, purpose in wanted:
            cutting.append((purpose, self._pool.submit(self._one, address)))
            if len(cutting) > self._workers:
                purpose, clip = cutting.popleft()
                yield purpose, clip.result()
        for purpose, clip in cutting:
            yield purpose, clip.result()

    def _one(self, address: str) -> Clip:
        sandbox = self._idle.get()
        try:
            return sandbox.clip(address, self._most_bytes)
        except (VideoError, DecoderFaultError) as error:
            return error
        finally:
            self._idle.put(sandbox)
