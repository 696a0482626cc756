"""Which videos an engine has in flight, told to the monitor many at a time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

_PACE_SECONDS = 0.2
_LONGEST_SECONDS = 1.0
_PART = 10
"""Between two calls to the monitor, and between them at most, while less than one in so many videos
in flight waits for it. A quarter more are in flight than the engine batches, so that it does not
wait for those that are yet to be told; and one monitor hears all engines of a run."""


class Flights:
    """Begins and ends the videos of one replica at the monitor. Belongs to one event loop.

    Args:
        monitor: handle of an :class:`actors.monitor.Monitor`.
        engine_id, node_id: of the replica.
    """

    def __init__(self, monitor: Any, *, engine_id: str, node_id: str) -> None:
        self._monitor = monitor
        self._replica = engine_id, node_id
        self._begun: list[tuple[str, bool]] = []
        self._ended: list[str] = []
        self._flying = 0
        self._told_at = 0.0
        self._next: asyncio.Task[None] | None = None

    async def begin(self, video_id: str, *, alone: bool = False) -> None:
        """Return when the monitor knows that the engine starts on the video."""
        self._begun.append((video_id, alone))
        self._flying += 1
        # A caller that is cancelled leaves the others be.
        await asyncio.shield(self._telling())

    def end(self, video_id: str) -> None:
        """Note that the engine is through with the video; told before the next one begins."""
        self._ended.append(video_id)
        self._flying -= 1
        self._telling()

    def _telling(self) -> asyncio.Task[None]:
        """The next call, which tells all that is noted until then."""
        if self._next is None:
            self._next = asyncio.create_task(self._tell())
            # An end of which nobody can be told any more is not a fault: the run is over.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._next

    async def _tell(self) -> None:
        await asyncio.sleep(self._told_at + _PACE_SECONDS - time.monotonic())
        while (
            len(self._begun) * _PART < self._flying
            and time.monotonic() < self._told_at + _LONGEST_SECONDS
        ):
            await asyncio.sleep(_PACE_SECONDS)
        self._next, self._told_at = None, time.monotonic()
        begun, self._begun = self._begun, []
        ended, self._ended = self._ended, []
        await self._monitor.fly.remote(*self._replica, begun=begun, ended=ended)
