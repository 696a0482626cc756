"""A Ray cluster file (``ray up``), as far as a job's actors must find a place in it."""

from __future__ import annotations

from typing import Annotated

import yaml
from pydantic import BaseModel, Field, ValidationError

from actors.storage.access import read_whole
from rayjob.capacity.placement import Nodes, NodeType
from schemas.errors import ConfigError, OpenError
from schemas.media import StorageOptions
from schemas.settings import explain

_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Entry(BaseModel):
    resources: dict[str, _Amount] | None = None
    max_workers: _Amount | None = None


class _ClusterFile(BaseModel):
    available_node_types: dict[str, _Entry] = Field(min_length=1)
    head_node_type: str | None = None
    max_workers: _Amount = 0


def read_cluster(path: str, storage: StorageOptions | None = None) -> Nodes:
    """The nodes that a cluster file, local or on S3, allows.

    Raises:
        ConfigError: it cannot be read, or a node type does not say what it has.
    """
    try:
        data = yaml.safe_load(read_whole(path, storage or StorageOptions()).decode())
        file = _ClusterFile.model_validate(data if isinstance(data, dict) else {})
    except (OpenError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the cluster file {path} cannot be read: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"the cluster file {path}: {explain(error, _ClusterFile)}") from error
    limit, types = int(file.max_workers), []
    for name, entry in file.available_node_types.items():
        resources = entry.resources or {}
        if "CPU" not in resources:
            raise ConfigError(
                f"the cluster file {path}: node type {name} says nothing about its CPUs; write "
                "resources: {CPU: ..., GPU: ...}, else nothing can be checked before the cluster "
                "runs"
            )
        is_head = name == file.head_node_type
        most = (0 if is_head else limit) if entry.max_workers is None else int(entry.max_workers)
        types.append(NodeType(name=name, resources=resources, count=min(limit, most)))
        if is_head:
            types.append(NodeType(name=name, resources=resources, count=1, is_head=True))
    return Nodes(types=tuple(each for each in types if each.count), max_workers=limit)
