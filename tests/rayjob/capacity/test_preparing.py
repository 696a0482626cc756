"""How many processes prepare an engine's requests where nothing is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from rayjob.capacity.placement import engines_asked, running
from rayjob.capacity.pool import engine_pool
from schemas.config import EngineConfig
from schemas.media import SamplingPlan
from tests.support.engines import SOUND, machines, omni_engine

CLIP = SamplingPlan(num_frames=32, audio_rate=16_000)
SMALL = SamplingPlan(num_frames=6)
LONG = SamplingPlan(fps=1.0)


@pytest.mark.parametrize(
    ("given", "plan", "cpus", "expected"),
    [
        ({}, CLIP, 12, (4, 5.0)),
        ({}, LONG, 12, (4, 5.0)),
        ({}, CLIP, 4, (1, 2.0)),
        ({}, CLIP, 2, (0, 1.0)),
        ({}, SMALL, 12, (0, 1.0)),
        ({}, None, 12, (0, 1.0)),
        ({"gpus_per_engine": 0.5}, CLIP, 12, (2, 3.0)),
        ({"gpus_per_engine": 2}, CLIP, 12, (0, 1.0)),  # no node holds one
        ({"cpus_per_engine": 4}, CLIP, 12, (3, 4.0)),
        ({"cpus_per_engine": 0.5}, CLIP, 12, (0, 0.5)),
        ({"prepare_processes": 2}, SMALL, 12, (2, 3.0)),
        ({"prepare_processes": 0}, CLIP, 12, (0, 1.0)),
        ({"prepare_processes": 3, "cpus_per_engine": 2}, CLIP, 12, (3, 2.0)),
        ({"device": "cpu"}, CLIP, 12, (0, 1.0)),
        ({"device": "cpu", "prepare_processes": 1}, CLIP, 12, (1, 2.0)),
    ],
)
def test_by_what_a_clip_costs_and_the_cpus(
    given: dict[str, Any], plan: SamplingPlan | None, cpus: float, expected: tuple[int, float]
) -> None:
    nodes = running(machines(1, cpus=cpus))
    asked = engines_asked(EngineConfig(**given), nodes, plan=plan)
    assert (asked.prepare_processes, asked.cpus) == expected


def test_the_smallest_node_decides() -> None:
    nodes = running(machines(1, 8, cpus=16))
    assert engines_asked(EngineConfig(), nodes, plan=CLIP).prepare_processes == 0


def test_the_engine_and_the_reader_are_told() -> None:
    config = EngineConfig(model="models/tiny-omni", device="cpu", prepare_processes=2)
    pool = engine_pool(omni_engine(config, plan=SOUND), machines())
    assert pool.settings.prepare_processes == 2  # type: ignore[union-attr]
    assert pool.cpus == 3
    assert pool.describe().endswith("requests prepared by 2 processes beside it")
