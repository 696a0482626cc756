"""Room for actors that lost their node: idle ones give up their places while a run stands still.

Ray keeps an actor's tasks for that actor, and starts it again elsewhere as soon as it finds the
CPUs that it asks for. Where other actors of the run hold all that are left, it never does: they
have nothing to do, and the run would stand still for ever.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import ray
from ray.exceptions import RayError

logger = logging.getLogger(__name__)

_ASK_SECONDS = 5.0


class Place:
    """The place of the calling actor, which its process gives up by ending: Ray starts it again
    where and when there is room.

    Args:
        monitor: handle of an :class:`actors.monitor.Monitor`.
        kind: of the CPUs; an actor never makes room for one of another kind.
    """

    def __init__(self, monitor: Any, *, kind: str) -> None:
        context = ray.get_runtime_context()
        self._actor_id = context.get_actor_id()
        self._monitor = monitor
        self._working = 0
        monitor.take_place.remote(self._actor_id, context.get_node_id(), kind)
        threading.Thread(target=self._watch, name="place", daemon=True).start()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Hold the place meanwhile. One thread at a time, or calls of one event loop."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1

    def _watch(self) -> None:
        # Without a monitor the run is at its end.
        with contextlib.suppress(RayError):
            while True:
                time.sleep(_ASK_SECONDS)
                if not self._working and ray.get(self._monitor.is_to_leave.remote(self._actor_id)):
                    logger.warning("makes room for an actor whose node was lost")
                    os._exit(1)
