"""Shared and exclusive access for coroutines of one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Lets some coroutines in at once, or one alone.

    A video that was in flight when an engine died is a suspect. It runs alone, so that
    the next death, if there is one, blames only the video that causes it.

    Args:
        places: how many are in at once.
    """

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._turn = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def enter(self, *, alone: bool) -> AsyncIterator[None]:
        """Wait for admission and hold it."""
        async with self._places:
            async with self._turn:
                if alone:
                    # Keeping the turn holds newcomers back until the caller is done.
                    await self._empty.wait()
                    yield
                    return
                self._inside += 1
                self._empty.clear()
            try:
                yield
            finally:
                self._inside -= 1
                if not self._inside:
                    self._empty.set()
