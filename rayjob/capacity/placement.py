"""Whether a job's actors find a place on the nodes of a cluster, running or only described."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rayjob.capacity.cluster import Resources
from rayjob.capacity.preparing import prepare_processes
from rayjob.counts import counted
from schemas.config import DecodeConfig, EngineConfig
from schemas.errors import ConfigError
from schemas.media import SamplingPlan

_UNLIKE = ("memory", "object_store_memory", "node:")
"""Resources, by start of their names, in which nodes of one kind differ."""

_ACCELERATOR = "accelerator_type:"
"""Prefix of the resource by which a node of Ray says which GPUs it has."""

_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Engines:
    """Engines to place.

    Attributes:
        replicas, min_replicas: how many, and how many are kept where the pool shrinks.
        cpus, gpus: what each asks of one node, in Ray's units.
        prepare_processes: that each has beside it, on its CPUs.
    """

    replicas: int
    min_replicas: int
    cpus: float
    gpus: float
    prepare_processes: int = 0


@dataclass(frozen=True, kw_only=True)
class NodeType:
    """Nodes that are alike.

    Attributes:
        resources: what one of them offers, by Ray's names.
        count: nodes of the type at most, one or more.
        is_head: the head is always there and does not count as a worker.
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
        return f"{self.name} ({counted(self.cpus, 'CPU')}, {counted(self.gpus, 'GPU')})"


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """What a cluster has, or may grow to.

    Attributes:
        max_workers: nodes of all types together at most, without the head.
    """

    types: tuple[NodeType, ...]
    max_workers: int


def gpu_types(nodes: Iterable[NodeType]) -> set[str]:
    """Accelerator types that nodes declare, as Ray names them; empty where unknown."""
    names = (name for node in nodes for name in node.resources if name.startswith(_ACCELERATOR))
    return {name.removeprefix(_ACCELERATOR) for name in names}


def running(resources: Resources) -> Nodes:
    """The nodes of a cluster that runs, where none is added."""
    kinds = Counter(
        frozenset(each for each in node.items() if not each[0].startswith(_UNLIKE))
        for node in resources.nodes
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


def runs_on_gpu(config: EngineConfig, nodes: Nodes) -> bool:
    """Whether engines run on GPUs: as configured, else where the cluster has any."""
    if config.device == "auto":
        return any(node.gpus for node in nodes.types)
    return config.device == "gpu"


def engines_asked(
    config: EngineConfig, nodes: Nodes, *, plan: SamplingPlan | None = None
) -> Engines:
    """What a configuration asks of a cluster; of engines without a number, one.

    With the device "cpu" and ``gpus_per_engine`` set, GPUs are asked for all the same: a
    rehearsal of a GPU cluster on machines without.

    Args:
        plan: how videos are sampled; None for work on texts alone.

    Raises:
        ConfigError: GPUs are asked for, of a cluster that has none.
    """
    on_gpu = runs_on_gpu(config, nodes)
    asked = "gpus_per_engine" in config.model_fields_set
    if asked and not on_gpu and config.device == "auto":
        raise ConfigError(
            f"engines ask for {counted(config.gpus_per_engine, 'GPU')} each, and the cluster has "
            "none: set engine.device=gpu and engine.autoscale where it adds GPU nodes by itself, "
            "or engine.device=cpu to rehearse without GPUs, or leave out --gpus-per-engine "
            "(engine.gpus_per_engine) to run on the CPU"
        )
    count = config.engines or 1
    gpus = config.gpus_per_engine if on_gpu or asked else 0.0
    processes = prepare_processes(
        config,
        plan,
        on_gpu=on_gpu,
        node_cpus=(
            node.cpus / held
            for node in nodes.types
            if gpus and (held := gpu_shares(node.gpus, gpus))
        ),
    )
    return Engines(
        replicas=count,
        min_replicas=config.min_engines or count,
        cpus=config.cpus_per_engine or 1.0 + processes,
        gpus=gpus,
        prepare_processes=processes,
    )


def check_places(nodes: Nodes, *, engines: Engines, decode: DecodeConfig | None) -> list[NodeType]:
    """Check that all engines find a place, and that they leave one for a decoder.

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
        gpus = f"{counted(engines.gpus, 'GPU')} and " if engines.gpus else ""
        problems.append(
            f"no node type holds an engine with {gpus}{counted(engines.cpus, 'CPU')} on one node"
        )
    capacity = sum(sum(on) for _, on in _placed(nodes, replace(engines, replicas=sys.maxsize)))
    if holding and engines.replicas > capacity:
        problems.append(
            f"the cluster has no place for {counted(engines.replicas, 'engine')}, it holds "
            f"{capacity} at most: add nodes (max_workers in a cluster file), or lower --engines or "
            "--gpus-per-engine"
        )
    if decode is not None and not any(node.holds_decoder(decode) for node in nodes.types):
        share = decode.cpus_per_actor
        name = f" and {share:g} of {decode.node_resource}" if decode.node_resource else ""
        problems.append(f"no node type has {counted(share, 'CPU')}{name} for a decoder")
    elif decode is not None and not problems and not _leaves_place(nodes, engines, decode):
        problems.append(
            f"{counted(engines.min_replicas, 'engine')} would leave no place for a decoder, and "
            "the job would wait forever: add nodes (max_workers in a cluster file), or lower "
            "--engines or engine.cpus_per_engine"
        )
    if problems:
        there = ", ".join(str(node) for node in nodes.types) or "none"
        raise ConfigError("\n".join(f"{problem}; there are: {there}" for problem in problems))
    return holding


def _placed(nodes: Nodes, wanted: Engines) -> Sequence[tuple[NodeType, Sequence[int]]]:
    """Engines on as few nodes as possible: of each type the nodes in use, by engines on them."""
    placed = []
    left, workers = wanted.replicas, nodes.max_workers
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
    placed = _placed(nodes, replace(engines, replicas=engines.min_replicas))
    workers = nodes.max_workers - sum(len(on) for node, on in placed if not node.is_head)
    return any(
        any(node.holds_decoder(decode, cpus_taken=count * engines.cpus) for count in on)
        or (len(on) < node.count and (node.is_head or workers) and node.holds_decoder(decode))
        for node, on in placed
    )


def _times(total: float, each: float) -> int:
    """How often a share goes into a whole."""
    return int(total / each + _ROUNDING)
