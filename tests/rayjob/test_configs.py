"""The configurations that come with the project can be run as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from rayjob.cli import app
from rayjob.recipes import find_recipe
from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.longform.clips import Clips
from rayjob.recipes.longform.long import Long
from rayjob.settings.loading import read_config
from schemas.config import EngineConfig, FuseConfig, GenerationConfig, JobConfig
from schemas.media import SamplingPlan
from schemas.splitting import SplitConfig
from tests.support.jobs import ROOT
from tests.support.models.checkpoint import Checkpoint
from tests.support.models.minicpm import minicpmo
from tests.support.models.others import gemma3, internvl
from tests.support.models.qwen import qwen3_omni, qwen3_vl, qwen25_vl

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
        "longcaption-10k",
        "longcaption-10k-fusion",
    } <= set(CONFIGS)


FAMILIES: dict[str, Callable[[], Checkpoint]] = {
    "qwen3-vl-8b": partial(qwen3_vl, samples=True),
    "qwen3-vl-30b-a3b-fp8": partial(qwen3_vl, experts=True),
    "qwen3-omni-30b-a3b": qwen3_omni,
    "qwen2.5-vl-7b": qwen25_vl,
    "qwen2.5-vl-72b": qwen25_vl,
    "internvl3.5-8b": internvl,
    "gemma-3-27b": gemma3,
    "minicpm-o-4.5": minicpmo,
}
"""Of the models that configurations name: tiny builds with the same processors."""


@pytest.mark.vllm
@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_that_family_is_shown_what_the_configuration_asks(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    model = FAMILIES[name]().write(tmp_path / "model")
    words = ("check", "--config", f"configs/{name}.yaml", "--model", str(model))
    sets = ("engine.load_format=dummy", "engine.dtype=bfloat16")
    done = CliRunner().invoke(app, [*words, *(part for each in sets for part in ("--set", each))])
    assert done.exit_code == 0, done.output
    longest = re.search(r"the longest clip: (\d+) tokens", done.output)
    assert longest is not None and int(longest[1]) > 1000, done.output


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


def test_longcaption_as_published() -> None:
    engine, recipe = loaded("longcaption-agent")
    assert engine.model == "openbmb/MiniCPM-V-2_6"
    assert recipe.plan is not None and recipe.plan.fps == 1.0
    assert isinstance(recipe, Clips)
    options = recipe.options
    assert (options.window_sec, options.stride_sec, options.frame_sec) == (10, 5, 1)
    assert options.context and not options.differential
    engine, text = loaded("longcaption-agent-fusion")
    assert engine.model == "Qwen/Qwen2.5-32B-Instruct"
    assert isinstance(text, Long) and text.options.frame_sets == "whole"
    assert (text.generation.temperature, text.generation.max_tokens) == (0.2, 2048)


def test_longcaption_10k_is_made_as_longcaption_agent_works() -> None:
    """The same captions of frames and windows, of a selection; texts as long as published."""
    engine, recipe = loaded("longcaption-10k")
    (agents_engine, agent), (_, text) = map(loaded, ("longcaption-agent", "longcaption-10k-fusion"))
    assert (engine.model, engine.max_model_len) == (agents_engine.model, 16_384)
    assert (recipe.plan, recipe.generation, recipe.options) == (
        agent.plan, agent.generation, agent.options
    )  # fmt: skip
    config = read_config(JobConfig, str(ROOT / "configs/longcaption-10k.yaml"), flags=PLACES)
    lengths = config.source.lengths
    assert lengths is not None
    assert (lengths.edges_sec, lengths.count) == ((30, 60, 120, 180), 10_000)
    assert text.drop_abnormal
    mean_video_sec, mean_words = 92.8, 1198.2
    assert isinstance(text, Long)
    assert text.options.words_per_sec * mean_video_sec == pytest.approx(mean_words, rel=0.01)
    fusion = read_config(
        FuseConfig, str(ROOT / "configs/longcaption-10k-fusion.yaml"), flags=PLACES
    )
    assert fusion.export_jsonl


def test_ugc_as_published() -> None:
    engine, recipe = loaded("ugc-videocaptioner")
    assert recipe.plan == SamplingPlan(num_frames=32, max_pixels=100_352, audio_rate=16_000)
    assert recipe.generation == GenerationConfig(temperature=0.2, max_tokens=1024, seed=42)
    assert engine.max_model_len == 20_000
