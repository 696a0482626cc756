"""Whether a job's actors find a place on the nodes of a cluster, running or only described."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rayjob.capacity.cluster import accelerators
from schemas.config import DecodeConfig
from schemas.errors import ConfigError

_UNLIKE = ("memory", "object_store_memory", "node:")
"""Resources, by start of their names, in which nodes of one kind differ."""

_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Engines:
    """Engines to place: how many, and the CPUs and GPUs that each asks of one node."""

    count: int
    cpus: float
    gpus: float


@dataclass(frozen=True, kw_only=True)
class NodeType:
    """Nodes that are alike.

    Attributes:
        resources: what one of them offers, by Ray's names.
        count: nodes of the type at most, one or more.
        is_head: the head is there in any case, and is no worker.
    """

    name: str
    resources: Mapping[str, float]
    count: int
    is_head: bool = False

    @property
    def cpus(self) -> float:
        """Logical CPUs of one node."""
        return self.resources.get("CPU", 0.0)

    @property
    def gpus(self) -> float:
        """Logical GPUs of one node."""
        return self.resources.get("GPU", 0.0)

    @property
    def gpu_types(self) -> frozenset[str]:
        """Accelerator types that it declares."""
        return accelerators(self.resources)

    def engines(self, wanted: Engines) -> int:
        """Engines that one node holds."""
        by_cpu = _times(self.cpus, wanted.cpus)
        return min(by_cpu, gpu_shares(self.gpus, wanted.gpus)) if wanted.gpus else by_cpu

    def holds_decoder(self, decode: DecodeConfig, *, cpus_taken: float = 0.0) -> bool:
        """Whether one node holds a decoder beside actors that take some of its CPUs."""
        name, share = decode.node_resource, decode.cpus_per_actor - _ROUNDING
        return self.cpus - cpus_taken >= share and (
            name is None or self.resources.get(name, 0.0) >= share
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.cpus:g} CPUs, {self.gpus:g} GPUs)"


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """What a cluster has, or may grow to.

    Attributes:
        max_workers: nodes of all types together at most, without the head.
    """

    types: tuple[NodeType, ...]
    max_workers: int


def running(nodes: Iterable[Mapping[str, float]]) -> Nodes:
    """The nodes of a cluster that runs, where none is added.

    Args:
        nodes: resources of each, as Ray tells them.
    """
    kinds = Counter(
        frozenset(each for each in node.items() if not each[0].startswith(_UNLIKE))
        for node in nodes
    )
    types = tuple(
        NodeType(name=f"{count} x", resources=dict(kind), count=count)
        for kind, count in kinds.items()
    )
    return Nodes(types=types, max_workers=sum(each.count for each in types))


def gpu_shares(node_gpus: float, gpus: float) -> int:
    """Engines that a node's GPUs hold: a GPU is never shared beyond 1, nor an engine split over
    the rest of several.
    """
    return _times(node_gpus, gpus) if gpus >= 1 else int(node_gpus) * _times(1.0, gpus)


def check_places(nodes: Nodes, *, engines: Engines, decode: DecodeConfig | None) -> list[NodeType]:
    """See that all engines find a place, and that they leave one for a decoder.

    Args:
        decode: None for a job that decodes nothing.

    Returns:
        the node types that can hold an engine.

    Raises:
        ConfigError: with one line for each kind of actor that finds none.
    """
    holding = [node for node in nodes.types if node.engines(engines)]
    problems = []
    if not holding:
        gpus = f"{engines.gpus:g} GPUs and " if engines.gpus else ""
        problems.append(
            f"no node type holds an engine with {gpus}{engines.cpus:g} CPUs on one node"
        )
    capacity = sum(sum(on) for _, on in _placed(nodes, replace(engines, count=sys.maxsize)))
    if holding and engines.count > capacity:
        problems.append(
            f"{engines.count} engines do not fit: the cluster holds at most {capacity}. Raise "
            "max_workers, or lower --engines or --gpus-per-engine"
        )
    if decode is not None and not any(node.holds_decoder(decode) for node in nodes.types):
        share = f"{decode.cpus_per_actor:g}"
        name = f" and {share} of {decode.node_resource}" if decode.node_resource else ""
        problems.append(f"no node type has {share} CPUs{name} for a decoder")
    elif decode is not None and not problems and not _leaves_place(nodes, engines, decode):
        problems.append(
            f"with {engines.count} engines in their places none is left for a decoder, and the "
            "job would wait for ever: raise max_workers, or lower --engines or "
            "engine.cpus_per_engine"
        )
    if problems:
        there = ", ".join(str(node) for node in nodes.types) or "none"
        raise ConfigError("\n".join(f"{problem}; there are: {there}" for problem in problems))
    return holding


def _placed(nodes: Nodes, wanted: Engines) -> Sequence[tuple[NodeType, Sequence[int]]]:
    """Engines on as few nodes as possible: of each type the nodes in use, by engines on them."""
    placed = []
    left, workers = wanted.count, nodes.max_workers
    for node in sorted(nodes.types, key=lambda each: each.engines(wanted), reverse=True):
        most, on = node.engines(wanted), list[int]()
        while most and left and len(on) < node.count and (node.is_head or workers):
            on.append(min(most, left))
            left -= on[-1]
            workers -= not node.is_head
        placed.append((node, on))
    return placed


def _leaves_place(nodes: Nodes, engines: Engines, decode: DecodeConfig) -> bool:
    """Whether a decoder fits beside the engines, or on a node that may still come."""
    placed = _placed(nodes, engines)
    workers = nodes.max_workers - sum(len(on) for node, on in placed if not node.is_head)
    return any(
        any(node.holds_decoder(decode, cpus_taken=count * engines.cpus) for count in on)
        or (len(on) < node.count and (node.is_head or workers) and node.holds_decoder(decode))
        for node, on in placed
    )


def _times(total: float, each: float) -> int:
    """How often a share goes into a whole."""
    return int(total / each + _ROUNDING)
