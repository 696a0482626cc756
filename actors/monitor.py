"""One small actor per run that outlives workers: attempts in flight, and engine counters."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from actors.engine.stats import EngineStats

_GUILTY_DEATHS = 2
"""Engines that died with a video in flight, the last time with this video alone."""

_SUSPECT_NODES = 2
"""Nodes that were lost with a video in flight; the next time it runs alone."""

_GUILTY_NODES = 3
"""Nodes that were lost with a video alone on an engine."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How an engine is to treat a video.

    Attributes:
        is_suspect: engines or nodes went down with it, and it may be its doing: it runs alone.
        guilt: why it is given up, None where it is not.
    """

    is_suspect: bool = False
    guilt: str | None = None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of a run's replicas.

    Attributes:
        decoded: videos that decoders are through with, about.
        received: videos that have reached an engine.
        readable: those among them of which something could be read.
        deaths: engines that died on nodes that live on.
        deaths_in_a_row: of them, those after the last video that got through.
        died_with: a video that was in flight when the last of them died, "" without any.
        engines: the latest counters of each replica that has started.
        starting: seconds since the start of each replica that is not up yet.
        unheard: seconds since each replica's latest counters.
        refused_layers: of the decoding processes' confinement, those that some node has not got
            -> why.
        refusal: why a replica cannot work with the model, None where none says so.
    """

    decoded: int = 0
    received: int = 0
    readable: int = 0
    deaths: int = 0
    deaths_in_a_row: int = 0
    died_with: str = ""
    engines: tuple[EngineStats, ...] = ()
    starting: tuple[float, ...] = ()
    unheard: tuple[float, ...] = ()
    refused_layers: Mapping[str, str] = field(default_factory=dict)
    refusal: str | None = None

    @property
    def running(self) -> int:
        """Requests in the engines."""
        return sum(each.running for each in self.engines)

    @property
    def tokens(self) -> int:
        """Tokens that the engines have read and written."""
        return sum(each.prompt_tokens + each.output_tokens for each in self.engines)

    @property
    def pieces(self) -> int:
        """Pieces of answers that the engines have given."""
        return sum(each.pieces for each in self.engines)

    @property
    def marks(self) -> tuple[int, ...]:
        """What changes while anything moves."""
        waiting = sum(each.waiting for each in self.engines)
        starting = len(self.starting)
        return self.decoded, self.received, self.pieces, self.running, waiting, starting


def lost_nodes() -> set[str]:
    """Ids of the nodes that were part of this Ray cluster and no longer are."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"] for node in nodes if not node["Alive"]}


@dataclass
class _Flight:
    """A video between an engine's start on it and its end.

    Attributes:
        begun: node of each start, and whether the video was alone.
        engine_id: of the last start.
        lost_before: nodes that were known to be lost at the first start.
    """

    lost_before: frozenset[str]
    begun: list[tuple[str, bool]] = field(default_factory=list)
    engine_id: str = ""


class Monitor:
    """Counts where a crash of a worker cannot erase.

    A video is begun when the engine starts on it, and ended when the engine is through
    with it. One that was begun before was in flight when an engine's process died: on a node
    that lives on, or with its node. A lost node accuses a video only if the video was alone on an
    engine of it, as others in flight are as likely to blame; and only if the nodes that went
    with the video are more than those that went without it, as a storm of losses takes both.

    Args:
        lost: ids of the nodes that are gone.
        room_sec: time in which nothing moves before idle actors make room for others, and from
            there to the next time: one that found a place is to show that it goes on.
    """

    def __init__(
        self, lost: Callable[[], Collection[str]] = lost_nodes, *, room_sec: float = 60.0
    ) -> None:
        self._lost = lost
        self._room_sec = room_sec
        self._known_lost = frozenset[str]()
        self._flights: dict[str, _Flight] = {}
        self._dead: set[str] = set()
        self._deaths_in_a_row = 0
        self._died_with = ""
        self._decoded = 0
        self._received = 0
        self._readable = 0
        self._engines: dict[str, EngineStats] = {}
        self._heard: dict[str, float] = {}
        self._starting: dict[str, float] = {}
        self._refused_layers: dict[str, str] = {}
        self._places: dict[str, tuple[str, str]] = {}
        self._left: dict[str, float] = {}
        self._silent_sec = 0.0
        self._refusal: str | None = None

    def decoded(self, videos: int) -> None:
        """Note that a decoder is through with so many more."""
        self._decoded += videos

    def receive(self, video_ids: Sequence[str], *, readable: int = 0) -> list[Standing]:
        """Note that videos reached an engine.

        Args:
            readable: how many of them something could be read of.

        Returns:
            how each is to be treated.
        """
        again = self._flights.keys() & set(video_ids)
        self._received += len(video_ids) - len(again)
        self._readable += readable
        if again:
            self._known_lost = frozenset(self._lost())
        for video_id in again:
            self._count_death(video_id)
        return [self._standing(video_id) for video_id in video_ids]

    def _count_death(self, video_id: str) -> None:
        """Count the death of the engine that had a video, once for all that were in flight."""
        flight = self._flights[video_id]
        if flight.begun[-1][0] not in self._known_lost and flight.engine_id not in self._dead:
            self._dead.add(flight.engine_id)
            self._deaths_in_a_row += 1
            self._died_with = video_id

    def _standing(self, video_id: str) -> Standing:
        flight = self._flights.get(video_id)
        if flight is None:
            return Standing()
        lost = self._known_lost
        deaths = sum(node not in lost for node, _ in flight.begun)
        nodes = {node for node, _ in flight.begun if node in lost}
        alone = {node for node, is_alone in flight.begun if is_alone and node in lost}
        others = lost - flight.lost_before - nodes
        guilt = None
        if deaths >= _GUILTY_DEATHS:
            guilt = (
                f"the engine's process died {deaths} times with this video in flight, "
                "the last time with this video alone"
            )
        elif len(alone) >= _GUILTY_NODES and len(nodes) > len(others):
            guilt = (
                f"{len(nodes)} nodes were lost with this video in flight, "
                f"{len(alone)} of them with this video alone on an engine"
            )
        return Standing(is_suspect=deaths > 0 or len(nodes) >= _SUSPECT_NODES, guilt=guilt)

    def fly(
        self,
        engine_id: str,
        node_id: str,
        *,
        begun: Sequence[tuple[str, bool]],
        ended: Sequence[str],
    ) -> None:
        """Note what came of a replica's videos since the last time.

        Args:
            begun: as for :meth:`begin`: the videos, and whether each is alone.
            ended: those before them that the engine is through with.
        """
        for video_id in ended:
            self.end(video_id)
        for video_id, alone in begun:
            self.begin(video_id, node_id, engine_id, alone=alone)

    def begin(self, video_id: str, node_id: str, engine_id: str, *, alone: bool = False) -> None:
        """Count a start of the video in an engine on a node."""
        flight = self._flights.setdefault(video_id, _Flight(self._known_lost))
        flight.begun.append((node_id, alone))
        flight.engine_id = engine_id

    def end(self, video_id: str) -> None:
        """Forget a video that the engine has survived."""
        self._flights.pop(video_id, None)
        self._deaths_in_a_row = 0

    def start(self, engine_id: str) -> None:
        """Note that a replica begins to load its model."""
        self._starting[engine_id] = time.monotonic()

    def refuse(self, reason: str) -> None:
        """Note that a replica cannot work with the model."""
        self._refusal = reason

    def report(self, engine_id: str, stats: EngineStats) -> None:
        """Store the latest counters of a replica."""
        self._starting.pop(engine_id, None)
        self._engines[engine_id] = stats
        self._heard[engine_id] = time.monotonic()

    def miss_layers(self, refused: Mapping[str, str]) -> None:
        """Note layers of :data:`actors.confinement.layers.LAYERS` that a node's kernel refused,
        and why.
        """
        self._refused_layers |= refused

    def take_place(self, actor_id: str, node_id: str, kind: str) -> None:
        """Note where an actor of the run has started, on CPUs of which kind."""
        self._places[actor_id] = node_id, kind

    def is_to_leave(self, actor_id: str) -> bool:
        """Whether an idle actor is to make room: nothing moves, and another waits for a place,
        because its node was lost or because it has made room itself.
        """
        if self._silent_sec < self._room_sec:
            return False
        lost, now = {*self._lost(), ""}, time.monotonic()
        self._left = {each: at for each, at in self._left.items() if now - at < self._room_sec}
        own_node, kind = self._places[actor_id]
        waiting = [
            each
            for each, (node, of_kind) in self._places.items()
            if node in lost and of_kind == kind and each not in self._left
        ]
        if own_node in lost or len(self._left) >= len(waiting):
            return False
        self._left[actor_id] = now
        self._places[actor_id] = "", kind
        return True

    def snapshot(self, silent_sec: float = 0.0) -> Snapshot:
        """What the driver's progress line, rules and summary are made of.

        Args:
            silent_sec: how long the driver has seen nothing move.
        """
        self._silent_sec = silent_sec
        now = time.monotonic()
        return Snapshot(
            decoded=self._decoded,
            received=self._received,
            readable=self._readable,
            deaths=len(self._dead),
            deaths_in_a_row=self._deaths_in_a_row,
            died_with=self._died_with,
            engines=tuple(self._engines.values()),
            starting=tuple(now - since for since in self._starting.values()),
            unheard=tuple(now - since for since in self._heard.values()),
            refused_layers=dict(self._refused_layers),
            refusal=self._refusal,
        )
