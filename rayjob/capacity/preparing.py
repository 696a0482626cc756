"""How many processes prepare an engine's requests: where that is worth CPUs, and how many."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.config import EngineConfig
from schemas.media import SamplingPlan

_CHEAP_BYTES = 4_000_000
"""Of a decoded clip. One thread prepares a hundred such requests a second, which is more than an
engine answers; of clips twice as large, ten to fifty."""

_MOST = 4
"""One prepares 5 to 40 requests a second of any model: more than a GPU answers with so many."""


def prepare_processes(
    config: EngineConfig, plan: SamplingPlan | None, *, on_gpu: bool, node_cpus: Iterable[float]
) -> int:
    """As configured, else by what a clip costs and by the CPUs that there are for it.

    Args:
        plan: how videos are sampled; None for work on texts alone.
        node_cpus: of each kind of node that holds engines, its CPUs for each of them.
    """
    if config.prepare_processes is not None:
        return config.prepare_processes
    if plan is None or not on_gpu:
        return 0  # texts are cheap; on CPUs the model itself is what takes them
    clip = plan.clip_bytes()
    if clip is not None and clip < _CHEAP_BYTES:
        return 0
    if config.cpus_per_engine is not None:
        # One is the engine's own.
        return max(0, int(config.cpus_per_engine) - 1)
    # What is left decodes, which takes as much.
    return max(0, min(_MOST, int((min(node_cpus, default=0.0) - 1) // 2)))
