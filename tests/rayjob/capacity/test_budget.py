"""What is known of models' limits, by their configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rayjob.capacity.budget import model_limits, recipe_budget
from rayjob.capacity.engine_spec import recipe_engine
from rayjob.recipes import find_recipe
from rayjob.recipes.longform.clips import Clips
from rayjob.recipes.omni import Omni
from rayjob.recipes.structured import Structured
from schemas.budget import Budget
from schemas.config import EngineConfig, RecipeConfig

TINY = json.loads(Path("models/tiny-omni/config.json").read_text())
MINUTE = 60.0


def published(kind: type[Omni | Structured | Clips]) -> Budget:
    recipe = kind()
    made = recipe_budget(recipe, recipe_engine(EngineConfig(), recipe))
    assert made is not None
    return made


def test_the_embedded_model() -> None:
    limits = model_limits(TINY, context=1024, processor={"size": {"shortest_edge": 6272}})
    assert (limits.positions, limits.positions_per_sec) == (4 * 4096, 25)
    assert (limits.sound_tokens_per_sec, limits.longest_sound_sec) == (25, None)
    assert (limits.token_side, limits.frames_per_token, limits.least_pixels) == (28, 2, 6272)


def test_the_limits_of_the_published_models_are_those_of_the_page() -> None:
    """docs/engine.md has them in a table."""
    omni, size = published(Omni), (448, 224)
    assert omni.longest(Omni.plan, sound=True, size=size) / MINUTE == pytest.approx(11, abs=0.3)
    assert omni.longest(Omni.plan, sound=False, size=size) / MINUTE == pytest.approx(87, abs=1)
    structured = published(Structured)
    hours = structured.longest(Structured.plan, sound=False, size=(360, 420)) / 3600
    assert hours == pytest.approx(80, abs=1)
    assert published(Clips).part_sec == 10.0
    assert published(Clips).longest(Clips.plan, sound=False, size=(448, 448)) > 1e6


def test_a_model_whose_clock_is_not_known_has_a_context_alone() -> None:
    other = {"model_type": "new", "max_position_embeddings": 4096, "vision_config": {"depth": 2}}
    limits = model_limits(other, context=1024, processor={})
    assert limits.model_dump(exclude_none=True) == {
        "context": 1024, "frames_per_token": 1, "least_pixels": 0
    }  # fmt: skip


def test_a_model_that_hears_half_a_minute() -> None:
    config = {"audio_config": {"model_type": "qwen2_audio_encoder"}}
    limits = model_limits(config, context=8192, processor={})
    assert (limits.sound_tokens_per_sec, limits.longest_sound_sec) == (25, 30)


def test_what_a_recipe_can_do_with_a_long_video_is_a_setting() -> None:
    ways = {name: find_recipe(name)().on_too_long for name in ("omni", "structured", "clips")}
    assert ways == {"omni": "fail", "structured": "sample", "clips": "fail"}
    assert Omni(RecipeConfig(on_too_long="window")).on_too_long == "window"


def test_a_recipe_without_videos_has_no_budget() -> None:
    fusion = find_recipe("t2v")()
    assert recipe_budget(fusion, recipe_engine(EngineConfig(), fusion)) is None
