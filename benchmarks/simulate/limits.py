"""The closed form: how fast each part of a run can be alone. The slowest one is the bottleneck."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.simulate.inputs import Inputs
from rayjob.run.executors import ENGINES_PER_EXECUTOR
from rayjob.run.graph import Tasks

PER_RUN = ("driver", "monitor", "s3")
"""Parts of which a run has one, whatever the cluster; the others grow with it."""

_LARGE = 1024
"""GPUs of a cluster with several executors."""


def nodes(inputs: Inputs, gpus: int) -> int:
    return -(-gpus // inputs.gpus_per_node)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A cluster.

    Attributes:
        shared_cores: that all decoders and engines share, on one machine; None where each has
            its own.
        engine_cores: that an engine takes at full rate, of the shared ones.
    """

    engines: int
    decoders: int
    nodes: int = 1
    shared_cores: float | None = None
    engine_cores: float = 1.0

    @classmethod
    def of(cls, inputs: Inputs, gpus: int) -> Shape:
        count = nodes(inputs, gpus)
        return cls(engines=gpus, decoders=count * inputs.decoders_per_node, nodes=count)


def tasks(inputs: Inputs, gpus: int, videos: int) -> Tasks:
    """In which portions a run of so many videos has them."""
    decoders = nodes(inputs, gpus) * inputs.decoders_per_node
    return Tasks.of(inputs.plan, in_flight=inputs.in_flight, share=videos // max(gpus, decoders))


def executors(gpus: int) -> int:
    """How many a run has by default."""
    return -(-gpus // ENGINES_PER_EXECUTOR)


def limits(inputs: Inputs, gpus: int, *, videos: int) -> dict[str, float]:
    """Videos a second that each part is good for.

    Args:
        videos: of the whole run, which decide how many a task carries.
    """
    each = tasks(inputs, gpus, videos).videos
    batch = min(inputs.engine_per_sec, inputs.max_num_seqs / inputs.engine_alone_sec)
    count = executors(gpus)
    driver = {"driver": each / inputs.driver_sec(each)}
    if count > 1:
        driver = {
            "driver": each / inputs.writing_sec(each),
            "executors": count * each / inputs.executor_sec(each),
        }
    return {
        **driver,
        "monitor": each / inputs.monitor_sec(each, engines=gpus),
        "readers": count * each * inputs.readers_per_sec(each),
        "s3": inputs.s3_per_sec / inputs.s3_requests,
        "decoders": nodes(inputs, gpus) * inputs.decoders_per_node / inputs.decode_sec,
        "prepare": gpus / inputs.prepare_sec,
        "engines": gpus * batch,
    }


def bottleneck(found: dict[str, float]) -> str:
    return min(found, key=found.__getitem__)


def available(inputs: Inputs) -> float:
    """Share of the time that a node is there with its engines, between spot losses."""
    lost = inputs.node_losses_per_hour / 3600 * (inputs.node_start_sec + inputs.engine_start_sec)
    return 1 / (1 + lost)


def breaking_points(inputs: Inputs, *, videos: int) -> dict[str, int]:
    """Parts that a run has once -> GPUs from which on they are slower than what grows with the
    cluster; in the order in which they come.
    """
    whole = limits(inputs, _LARGE, videos=videos)
    per_gpu = min(whole[part] for part in whole if part not in PER_RUN) / _LARGE
    found = {part: whole[part] / per_gpu for part in PER_RUN}
    # What it can do depends on how many engines there are.
    task = tasks(inputs, _LARGE, videos).videos
    found["monitor"] = 1 / (per_gpu * inputs.monitor_sec(task) / task + inputs.monitor_share)
    return {part: round(found[part]) for part in sorted(found, key=found.__getitem__)}
