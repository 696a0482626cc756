"""One small actor per run that outlives workers: attempts in flight, and engine counters."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of a run's replicas.

    Attributes:
        received: videos that have reached an engine.
        engines: the latest counters of each replica, by its id.
    """

    received: int
    engines: dict[str, dict[str, float]]


class Monitor:
    """Counts where a crash of a worker cannot erase.

    A video is begun when the engine starts on it, and ended when the engine is through
    with it. One that was begun before was in flight when an engine's process died.
    """

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()
        self._received = 0
        self._engines: dict[str, dict[str, float]] = {}

    def receive(self, video_ids: list[str]) -> list[int]:
        """Note that videos reached an engine; returns how often each was begun before."""
        self._received += sum(video_id not in self._begun for video_id in video_ids)
        return [self._begun[video_id] for video_id in video_ids]

    def begin(self, video_id: str) -> None:
        """Count a start of the video."""
        self._begun[video_id] += 1

    def end(self, video_id: str) -> None:
        """Forget a video that the engine has survived."""
        self._begun.pop(video_id, None)

    def report(self, engine_id: str, counters: dict[str, float]) -> None:
        """Store the latest counters of a replica."""
        self._engines[engine_id] = counters

    def snapshot(self) -> Snapshot:
        """What the driver's progress line and summary are made of."""
        return Snapshot(received=self._received, engines=dict(self._engines))


def counters_of(stats: Any) -> dict[str, float]:
    """The numeric fields of an engine's stats, for :meth:`Monitor.report`."""
    fields = {name: value for name, value in vars(stats).items() if not name.startswith("_")}
    return fields | {"reported_at": time.time()}
