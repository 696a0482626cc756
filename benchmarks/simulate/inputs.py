"""The numbers that a simulated run begins with, each with its source (``inputs.yaml``)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from rayjob.run import graph
from schemas.media import SamplingPlan

FILE = Path(__file__).with_name("inputs.yaml")

_LEFT = 0.001
"""Share of its time that a monitor has left for tasks, at least."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What ``inputs.yaml`` says, without the sources; names tell units."""

    frames: int
    pixels: int
    audio_rate: int
    max_num_seqs: int
    decode_cpu_sec: float
    decode_sigma: float
    s3_requests: float
    s3_wait_sec: float
    s3_prefixes: int
    s3_per_sec_and_prefix: float
    prepare_sec: float
    engine_per_sec: float
    engine_alone_sec: float
    answer_sigma: float
    driver_ms_per_task: float
    driver_ms_per_video: float
    writing_ms_per_video: float
    monitor_ms_per_call: float
    monitor_ms_per_video: float
    monitor_calls_per_sec: float
    reader_tasks_per_sec: float
    gpus_per_node: int
    cpus_per_node: int
    node_memory_gib: float
    object_store_share: float
    object_store_max_gb: float
    object_store_in_use: float
    node_start_sec: float
    engine_start_sec: float
    node_losses_per_hour: float
    usd_per_gpu_hour: float
    usd_per_1000_requests: float
    planning_bytes_per_row: float
    planning_us_per_row: float

    @property
    def plan(self) -> SamplingPlan:
        return SamplingPlan(
            num_frames=self.frames, max_pixels=self.pixels, audio_rate=self.audio_rate or None
        )

    @property
    def clip_bytes(self) -> int:
        """Of one clip, decoded, with as much sound as the graph counts on."""
        return self.plan.clip_bytes() or 0

    @property
    def in_flight(self) -> int:
        """Videos that an engine works on at once: as the settings have it by default."""
        return math.ceil(1.25 * self.max_num_seqs)

    @property
    def decode_sec(self) -> float:
        """A clip's decoder, on average: it computes, and waits for the storage."""
        return self.decode_cpu_sec + self.s3_requests * self.s3_wait_sec

    @property
    def decoders_per_node(self) -> int:
        """As the run has it by default: one on each CPU that engines leave free."""
        return self.cpus_per_node - self.gpus_per_node

    @property
    def store_bytes_per_node(self) -> float:
        """Decoded bytes that may wait before decoding stops."""
        size = min(
            self.object_store_max_gb * 1e9, self.object_store_share * self.node_memory_gib * 2**30
        )
        return self.object_store_in_use * size

    def readers_per_sec(self, videos: int) -> float:
        """Tasks of so many videos that an executor's readers of the to-do list hand on in a
        second.
        """
        return graph.readers(videos) * self.reader_tasks_per_sec

    @property
    def s3_per_sec(self) -> float:
        return self.s3_prefixes * self.s3_per_sec_and_prefix

    def driver_sec(self, videos: int) -> float:
        """The driver's work for a task of so many videos, where it has the only executor."""
        return (self.driver_ms_per_task + videos * self.driver_ms_per_video) / 1000

    def writing_sec(self, videos: int) -> float:
        """The part of it that stays in the driver where executors do the rest."""
        return videos * self.writing_ms_per_video / 1000

    def executor_sec(self, videos: int) -> float:
        """The rest."""
        return self.driver_sec(videos) - self.writing_sec(videos)

    def monitor_sec(self, videos: int, *, engines: int = 0) -> float:
        """What the monitor takes for a task of so many videos, told in two calls, where so many
        engines have what :attr:`monitor_share` says of its time.
        """
        own = (2 * self.monitor_ms_per_call + videos * self.monitor_ms_per_video) / 1000
        # With more engines than it can hear it hardly moves.
        return own / max(_LEFT, 1 - engines * self.monitor_share)

    @property
    def monitor_share(self) -> float:
        """Of the monitor's time, what an engine tells it whatever it does."""
        return self.monitor_calls_per_sec * self.monitor_ms_per_call / 1000

    def but(self, **changes: Any) -> Inputs:
        """The same with other numbers."""
        return replace(self, **changes)


def cases(path: Path = FILE) -> dict[str, Inputs]:
    """The workloads of the file by name."""
    document = yaml.safe_load(path.read_text("utf-8"))
    common = dict(_values(document["common"]))
    return {
        name: Inputs(**common, **dict(_values(numbers)))
        for name, numbers in document["cases"].items()
    }


def _values(numbers: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for name, entry in numbers.items():
        if set(entry) != {"value", "source"} or not str(entry["source"]).strip():
            raise ValueError(f"{name}: a value and its source are needed, not {entry}")
        yield name, entry["value"]
