"""A Ray cluster file (``ray up``) as far as a job's actors must find a place in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rayjob.cluster import ACCELERATOR
from schemas.config import DecodeConfig, EngineConfig
from schemas.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NodeType:
    """One of ``available_node_types``.

    Attributes:
        count: nodes of the type at most, the head included.
        gpu_types: accelerator types that it declares.
    """

    name: str
    cpus: float
    gpus: float
    count: int
    gpu_types: frozenset[str] = frozenset()

    def engines(self, config: EngineConfig, *, on_gpu: bool) -> int:
        """Engines that one node holds."""
        by_cpu = int(self.cpus // config.cpus_per_engine)
        if not on_gpu:
            return by_cpu
        wanted = config.gpus_per_engine
        if wanted >= 1:
            return min(by_cpu, int(self.gpus // wanted))
        return min(by_cpu, int(self.gpus) * int(1 / wanted + 1e-9))

    def __str__(self) -> str:
        return f"{self.name} ({self.cpus:g} CPUs, {self.gpus:g} GPUs)"


def read_cluster(path: str) -> list[NodeType]:
    """The node types of a cluster file.

    Raises:
        ConfigError: it cannot be read, or a node type does not say what it has.
    """
    try:
        data = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the cluster file {path} cannot be read: {error}") from error
    types = data.get("available_node_types") if isinstance(data, dict) else None
    if not isinstance(types, dict) or not types:
        raise ConfigError(f"the cluster file {path} has no available_node_types")
    return [_node_type(path, data, str(name), entry) for name, entry in types.items()]


def _node_type(path: str, data: dict[str, Any], name: str, entry: Any) -> NodeType:
    resources = entry.get("resources") if isinstance(entry, dict) else None
    if not isinstance(resources, dict) or "CPU" not in resources:
        raise ConfigError(
            f"{path}: node type {name} says nothing about its CPUs; write resources: "
            "{CPU: ..., GPU: ...}, else nothing can be checked before the cluster runs"
        )
    limit = int(data.get("max_workers", 0))
    head = name == data.get("head_node_type")
    workers = min(limit, int(entry.get("max_workers", 0 if head else limit)))
    return NodeType(
        name=name,
        cpus=float(resources["CPU"]),
        gpus=float(resources.get("GPU", 0)),
        count=workers + (1 if head else 0),
        gpu_types=frozenset(
            key.removeprefix(ACCELERATOR) for key in resources if key.startswith(ACCELERATOR)
        ),
    )


def check_cluster(
    nodes: Sequence[NodeType], *, engine: EngineConfig, decode: DecodeConfig
) -> list[NodeType]:
    """See that each kind of actor finds a place, and that all engines do together.

    Returns:
        the node types that can hold an engine.

    Raises:
        ConfigError: with one line for each kind of actor that finds none.
    """
    existing = [node for node in nodes if node.count]
    on_gpu = engine.device == "gpu" or (
        engine.device == "auto" and any(node.gpus for node in existing)
    )
    problems = []
    there = "; there are: " + ", ".join(str(node) for node in existing)
    holding = [node for node in existing if node.engines(engine, on_gpu=on_gpu)]
    gpus = f"{engine.gpus_per_engine:g} GPUs and " if on_gpu else ""
    if not holding:
        problems.append(
            f"no node type holds an engine with {gpus}{engine.cpus_per_engine:g} CPUs on one "
            f"node{there}"
        )
    capacity = sum(node.count * node.engines(engine, on_gpu=on_gpu) for node in holding)
    if holding and engine.engines is not None and engine.engines > capacity:
        problems.append(
            f"{engine.engines} engines do not fit: the cluster holds at most {capacity}. Raise "
            f"max_workers, or lower --engines or --gpus-per-engine{there}"
        )
    if not any(node.cpus >= decode.cpus_per_actor for node in existing):
        problems.append(f"no node type has {decode.cpus_per_actor:g} CPUs for a decoder{there}")
    if problems:
        raise ConfigError("\n".join(problems))
    return holding
