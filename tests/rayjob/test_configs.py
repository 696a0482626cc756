"""The configurations that come with the project can be run as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from rayjob.recipes import find_recipe
from rayjob.recipes.base import BaseRecipe
from rayjob.settings.loading import read_config
from schemas.config import EngineConfig, FuseConfig, GenerationConfig, JobConfig
from schemas.media import SamplingPlan
from schemas.splitting import SplitConfig
from tests.support.jobs import ROOT

SPLIT = "split"
CONFIGS = sorted({path.stem for path in (ROOT / "configs").glob("*.yaml")} - {SPLIT})
PLACES: dict[str, Any] = {"input": "in", "output": "out"}


def loaded(name: str, flags: Mapping[str, Any] = {}) -> tuple[EngineConfig, BaseRecipe]:
    """Its engine and its recipe, read by the command that the recipe belongs to."""
    path = ROOT / f"configs/{name}.yaml"
    recipe = yaml.safe_load(path.read_text())["recipe"]["name"]
    kind = FuseConfig if find_recipe(recipe).plan is None else JobConfig
    config = read_config(kind, str(path), flags={**PLACES, **flags})
    assert config.engine.model, "a configuration names its model"
    return config.engine, find_recipe(config.recipe.name)(config.recipe)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_loads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Prompt files are named from the repository's root.
    monkeypatch.chdir(ROOT)
    loaded(name)


def test_that_of_a_split_loads() -> None:
    config = read_config(SplitConfig, str(ROOT / f"configs/{SPLIT}.yaml"), flags=PLACES)
    assert config.filters["black"].refusal("black", 0.5) == "black 0.5 is above 0.3"


def test_no_configuration_is_forgotten() -> None:
    assert {
        "demo",
        "demo-structured",
        "demo-t2v",
        "demo-i2v",
        "skycaptioner-v1",
        "skycaptioner-v1-fusion",
        "ugc-videocaptioner",
        "demo-clips",
        "demo-long",
        "longcaption-agent",
        "longcaption-agent-fusion",
    } <= set(CONFIGS)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("skycaptioner-v1", "structured"),
        ("skycaptioner-v1-fusion", "t2v"),
        ("ugc-videocaptioner", "omni"),
        ("longcaption-agent", "clips"),
        ("longcaption-agent-fusion", "long"),
    ],
)
def test_published_settings_are_the_defaults(name: str, recipe: str) -> None:
    """What a configuration spells out, a run without it does as well."""
    engine, configured = loaded(name)
    defaults = find_recipe(recipe)
    assert engine.model == defaults.model
    assert configured.plan == defaults.plan
    assert configured.generation == defaults.generation
    assert configured.options == defaults.options
    assert (engine.max_model_len, configured.max_attempts) == (defaults.max_model_len, 3)
    assert engine.max_num_seqs in (None, defaults.max_num_seqs)


def test_skycaptioner_as_published() -> None:
    engine, recipe = loaded("skycaptioner-v1")
    assert recipe.plan == SamplingPlan(num_frames=16, include_last=False, max_pixels=360 * 420)
    assert recipe.generation == GenerationConfig(temperature=0.05, max_tokens=2048, seed=42)
    assert engine.max_model_len == 31_920
    assert not engine.vllm_args


@pytest.mark.parametrize("task", ["t2v", "i2v"])
def test_fusion_as_published(task: str) -> None:
    engine, recipe = loaded("skycaptioner-v1-fusion", {"recipe.name": task})
    expected = GenerationConfig(temperature=0.1, max_tokens=512, stop=("\n\n",), seed=42)
    assert recipe.generation == expected
    assert engine.max_model_len == 4096


def test_ugc_as_published() -> None:
    engine, recipe = loaded("ugc-videocaptioner")
    assert recipe.plan == SamplingPlan(num_frames=32, max_pixels=100_352, audio_rate=16_000)
    assert recipe.generation == GenerationConfig(temperature=0.2, max_tokens=1024, seed=42)
    assert engine.max_model_len == 20_000
