"""Connecting to Ray: the cluster at hand, or one on this machine."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

ACCELERATOR = "accelerator_type:"
"""Prefix of the resource by which a node of Ray says which GPUs it has."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a cluster offers, in Ray's units.

    Attributes:
        gpu_types: accelerator types of its GPUs, as Ray names them; empty where unknown.
        nodes: what each of its nodes offers, by Ray's names.
    """

    cpus: float
    gpus: float
    gpu_types: frozenset[str] = frozenset()
    nodes: tuple[Mapping[str, float], ...] = ()


def connect() -> Resources:
    """Join the cluster this process belongs to (``ray job submit``), or start a local one."""
    if not ray.is_initialized():
        # Ray Data reports every operator every ten seconds; the job has its own progress.
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # Else the C++ side prints a warning to the terminal for each actor pool.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init(
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if "RAY_ADDRESS" not in os.environ else None,
        )
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return Resources(
        cpus=total.get("CPU", 0.0),
        gpus=total.get("GPU", 0.0),
        gpu_types=frozenset(
            name.removeprefix(ACCELERATOR) for name in total if name.startswith(ACCELERATOR)
        ),
        nodes=tuple(node["Resources"] for node in nodes if node["Alive"]),
    )


def peek() -> Resources:
    """What :func:`connect` would find, without starting anything on this machine."""
    if ray.is_initialized() or "RAY_ADDRESS" in os.environ:
        return connect()
    cpus, gpus = float(os.cpu_count() or 1), float(len(glob.glob("/dev/nvidia[0-9]*")))
    return Resources(cpus=cpus, gpus=gpus, nodes=({"CPU": cpus, "GPU": gpus},))
