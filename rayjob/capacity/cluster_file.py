"""A Ray cluster file (``ray up``), as far as a job's actors must find a place in it."""

from __future__ import annotations

import math
from typing import Any

import yaml

from actors.storage.access import read_whole
from rayjob.capacity.placement import Nodes, NodeType
from schemas.errors import ConfigError, OpenError
from schemas.media import StorageOptions


def read_cluster(path: str, storage: StorageOptions | None = None) -> Nodes:
    """The nodes that a cluster file, local or on S3, allows.

    Raises:
        ConfigError: it cannot be read, or a node type does not say what it has.
    """
    try:
        data = yaml.safe_load(read_whole(path, storage or StorageOptions()).decode())
    except (OpenError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the cluster file {path} cannot be read: {error}") from error
    types = data.get("available_node_types") if isinstance(data, dict) else None
    if not isinstance(types, dict) or not types:
        raise ConfigError(f"the cluster file {path} has no available_node_types")
    try:
        limit = _amount(data.get("max_workers", 0))
        found = [
            node
            for name, entry in types.items()
            for node in _node_types(path, data, str(name), entry, limit=int(limit))
        ]
    except ConfigError as error:
        raise ConfigError(f"the cluster file {path}: {error}") from error
    return Nodes(types=tuple(found), max_workers=int(limit))


def _node_types(
    path: str, data: dict[str, Any], name: str, entry: Any, *, limit: int
) -> list[NodeType]:
    """The nodes of one entry: workers, and the head where it is the head's."""
    resources = entry.get("resources") if isinstance(entry, dict) else None
    if not isinstance(resources, dict) or "CPU" not in resources:
        raise ConfigError(
            f"{path}: node type {name} says nothing about its CPUs; write resources: "
            "{CPU: ..., GPU: ...}, else nothing can be checked before the cluster runs"
        )
    amounts = {str(key): _amount(value) for key, value in resources.items()}
    is_head = name == data.get("head_node_type")
    workers = min(limit, int(_amount(entry.get("max_workers", 0 if is_head else limit))))
    found = [NodeType(name=name, resources=amounts, count=workers)]
    if is_head:
        found.append(NodeType(name=name, resources=amounts, count=1, is_head=True))
    return [node for node in found if node.count]


def _amount(value: Any) -> float:
    try:
        amount = float(value)
    except (TypeError, ValueError):
        amount = math.nan
    if not math.isfinite(amount) or amount < 0:
        raise ConfigError(f"{value!r} is not a finite number of 0 or more")
    return amount
