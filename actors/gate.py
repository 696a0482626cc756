"""Shared and exclusive access for coroutines of one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Gate:
    """Lets some coroutines in at once, or one alone; in the order in which they come.

    A video that was in flight when an engine died is a suspect. It runs alone, so that
    the next death, if there is one, blames only the video that causes it.

    Args:
        places: how many are in at once.
        most_bytes: what those that are in bring along, together; one that brings more is in
            with nobody else.

    Attributes:
        inside: how many are in.
        outside: how many wait for admission.
    """

    def __init__(self, places: int, *, most_bytes: int) -> None:
        self._places = places
        self._most_bytes = most_bytes
        self._bytes = 0
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self.inside = 0
        self.outside = 0

    @property
    def places(self) -> int:
        """How many are in at once; fewer places send nobody out."""
        return self._places

    @places.setter
    def places(self, places: int) -> None:
        self._places = places
        self._changed.set()

    @asynccontextmanager
    async def enter(self, *, alone: bool, size: int = 0) -> AsyncIterator[None]:
        """Wait for admission and hold it.

        Args:
            size: bytes that the caller brings along.
        """
        self.outside += 1
        try:
            await self._turn.acquire()
            try:
                if alone:
                    await self._until(lambda: not self.inside)
                else:
                    await self._until(lambda: self._has_room(size))
            except BaseException:
                self._turn.release()
                raise
        finally:
            self.outside -= 1
        self.inside += 1
        self._bytes += size
        if not alone:  # keeping the turn holds newcomers back until the caller is done
            self._turn.release()
        try:
            yield
        finally:
            self.inside -= 1
            self._bytes -= size
            self._changed.set()
            if alone:
                self._turn.release()

    def _has_room(self, size: int) -> bool:
        if not self.inside:
            return True
        return self.inside < self._places and self._bytes + size <= self._most_bytes

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait for what a change may bring about; only whose turn it is does."""
        while not holds():
            self._changed.clear()
            await self._changed.wait()
