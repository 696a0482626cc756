"""Engines as jobs set them up, and clusters to place them on."""

from __future__ import annotations

from rayjob.capacity.cluster import Resources
from rayjob.capacity.engine_spec import EngineSpec, recipe_engine
from rayjob.recipes.omni import Omni
from schemas.config import EngineConfig
from schemas.media import SamplingPlan

SOUND = SamplingPlan(num_frames=8, audio_rate=16_000)
SILENT = SamplingPlan(num_frames=8)


def omni_engine(config: EngineConfig, *, plan: SamplingPlan | None = SOUND) -> EngineSpec:
    """The engine of the recipe omni, with another plan."""
    return recipe_engine(config, Omni()).model_copy(update={"plan": plan})


def machines(*gpus: float, type_: str | None = None, cpus: float = 16.0) -> Resources:
    """A cluster with a node for each number of GPUs; without any, one node of CPUs."""
    kind = {f"accelerator_type:{type_}": 1.0} if type_ else {}
    nodes = [{"CPU": cpus, "GPU": float(each)} | kind for each in gpus]
    return Resources(tuple(nodes or [{"CPU": cpus}]))
