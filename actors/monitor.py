"""One small actor per run that outlives workers: attempts in flight, and engine counters."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import ray

from actors.engine.stats import EngineStats


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of a run's replicas.

    Attributes:
        received: videos that have reached an engine.
        deaths: engines that died on nodes that live on.
        deaths_in_a_row: of them, those after the last video that got through.
        died_with: a video that was in flight when the last of them died, "" without any.
        engines: the latest counters of each replica that has started.
    """

    received: int = 0
    deaths: int = 0
    deaths_in_a_row: int = 0
    died_with: str = ""
    engines: tuple[EngineStats, ...] = ()

    @property
    def running(self) -> int:
        """Requests in the engines."""
        return sum(each.running for each in self.engines)

    @property
    def tokens(self) -> int:
        """Tokens that the engines have read and written."""
        return sum(each.prompt_tokens + each.output_tokens for each in self.engines)


def lost_nodes() -> set[str]:
    """Ids of the nodes that were part of this Ray cluster and no longer are."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"] for node in nodes if not node["Alive"]}


class Monitor:
    """Counts where a crash of a worker cannot erase.

    A video is begun when the engine starts on it, and ended when the engine is through
    with it. One that was begun before was in flight when an engine's process died: with
    its node, which says nothing about the video, or alone, which may be the video's doing.

    Args:
        lost: ids of the nodes that are gone.
    """

    def __init__(self, lost: Callable[[], Collection[str]] = lost_nodes) -> None:
        self._lost = lost
        self._begun: dict[str, list[str]] = {}
        self._engine_of: dict[str, str] = {}
        self._dead: set[str] = set()
        self._deaths_in_a_row = 0
        self._died_with = ""
        self._received = 0
        self._engines: dict[str, EngineStats] = {}

    def receive(self, video_ids: list[str]) -> list[int]:
        """Note that videos reached an engine.

        Returns:
            for each, how many engines have died with it on nodes that live on.
        """
        known = self._begun.keys() & set(video_ids)
        self._received += len(video_ids) - len(known)
        lost = self._lost() if known else ()
        for video_id in known:
            nodes = self._begun[video_id]
            self._begun[video_id] = [node for node in nodes if node not in lost]
            if nodes and nodes[-1] not in lost:
                self._count_death(self._engine_of[video_id], video_id)
        return [len(self._begun.get(video_id, ())) for video_id in video_ids]

    def _count_death(self, engine_id: str, video_id: str) -> None:
        """Count the death of an engine once, however many videos were in flight."""
        if engine_id not in self._dead:
            self._dead.add(engine_id)
            self._deaths_in_a_row += 1
            self._died_with = video_id

    def begin(self, video_id: str, node_id: str, engine_id: str) -> None:
        """Count a start of the video in an engine on a node."""
        self._begun.setdefault(video_id, []).append(node_id)
        self._engine_of[video_id] = engine_id

    def end(self, video_id: str) -> None:
        """Forget a video that the engine has survived."""
        self._begun.pop(video_id, None)
        self._engine_of.pop(video_id, None)
        self._deaths_in_a_row = 0

    def report(self, engine_id: str, stats: EngineStats) -> None:
        """Store the latest counters of a replica."""
        self._engines[engine_id] = stats

    def snapshot(self) -> Snapshot:
        """What the driver's progress line and summary are made of."""
        return Snapshot(
            received=self._received,
            deaths=len(self._dead),
            deaths_in_a_row=self._deaths_in_a_row,
            died_with=self._died_with,
            engines=tuple(self._engines.values()),
        )
