"""Recipes against a scripted asker: what is asked, how often, and what is kept."""

from pathlib import Path

import pytest

from rayjob.recipes import find_recipe
from rayjob.recipes.asking import ask
from rayjob.recipes.omni import Omni
from rayjob.recipes.rules import complete, non_empty
from rayjob.testing import CHAT_TOKENS, ScriptedEngine, sample_video
from schemas.config import GenerationConfig, RecipeConfig
from schemas.errors import ConfigError
from schemas.media import SamplingPlan
from schemas.recipe import Request


async def test_a_good_answer_is_asked_for_once() -> None:
    engine = ScriptedEngine(["A dog."])
    outcome = await ask(engine, Request(prompt="?"), rules=[non_empty], max_attempts=3)
    assert (outcome.status, outcome.reason, outcome.attempts) == ("ok", None, 1)


async def test_a_bad_answer_is_asked_again_with_another_seed() -> None:
    engine = ScriptedEngine(["", "A dog."])
    request = Request(prompt="?", generation=GenerationConfig(temperature=0.0, seed=42))
    outcome = await ask(engine, request, rules=[non_empty], max_attempts=3)
    assert (outcome.answer.text, outcome.status, outcome.attempts) == ("A dog.", "ok", 2)
    assert outcome.prompt_tokens == 2 * (1 + CHAT_TOKENS)
    assert [r.generation.seed for r in engine.requests] == [42, 43]
    assert [r.generation.temperature for r in engine.requests] == [0.0, 0.2]


async def test_the_first_answer_is_kept_when_all_are_bad() -> None:
    engine = ScriptedEngine(["one~", "two~", ""])
    rules = [non_empty, complete]
    outcome = await ask(engine, Request(prompt="?"), rules=rules, max_attempts=3)
    assert (outcome.answer.text, outcome.status, outcome.attempts) == ("one~", "truncated", 3)
    outcome = await ask(
        ScriptedEngine(["", "x~"]), Request(prompt="?"), rules=rules, max_attempts=2
    )
    assert (outcome.status, outcome.reason) == ("invalid", "empty")


async def test_omni_row() -> None:
    recipe = Omni(RecipeConfig(min_words=2), model="m", model_revision="r1")
    engine = ScriptedEngine(["word", "two words"])
    video = sample_video(recipe.plan, metadata='{"k":1}', sound=False)
    (row,) = await recipe.caption(video, engine)
    assert (row.video_id, row.level, row.index) == ("sample.mp4", "video", 0)
    assert (row.start_sec, row.end_sec, row.num_frames, row.has_audio) == (0.0, 4.0, 32, False)
    assert (row.attempts, row.caption) == (2, "two words")
    assert (row.model, row.model_revision, row.metadata) == ("m", "r1", '{"k":1}')
    shown = engine.requests[0].clip
    assert shown is not None and video.decoded is not None
    assert shown.frames is video.decoded.frames and shown.duration_sec == 4.0
    assert engine.requests[0].generation.temperature == 0.2
    assert engine.requests[0].generation.max_tokens == 1024


def test_published_settings_of_omni() -> None:
    plan = Omni.plan
    assert (plan.num_frames, plan.max_pixels, plan.audio_rate) == (32, 100_352, 16_000)
    assert Omni.max_model_len == 20_000


def test_what_a_run_changes_is_changed_in_one_place() -> None:
    plan = SamplingPlan(fps=2.0)
    config = RecipeConfig(
        plan=plan, system_prompt="Be short.", generation=GenerationConfig(max_tokens=7), min_words=5
    )
    recipe = Omni(config)
    assert (recipe.plan, recipe.system) == (plan, "Be short.")
    assert recipe.generation == GenerationConfig(temperature=0.2, max_tokens=7, seed=42)
    assert len(recipe.rules) == len(Omni.rules) + 1
    assert Omni.plan != plan and Omni().system == Omni.system, "the class is as it was"
    with pytest.raises(ConfigError, match="the recipe t2v decodes nothing"):
        find_recipe("t2v")(config)


def test_prompt_file_and_system_prompt_change_the_hash(tmp_path: Path) -> None:
    prompt = tmp_path / "p.txt"
    prompt.write_text("  Tell me.\n")
    changed = Omni(RecipeConfig(prompt_file=str(prompt)))
    bare = Omni(RecipeConfig(system_prompt=""))
    assert changed.prompt == "Tell me."
    assert len({Omni().prompt_hash, changed.prompt_hash, bare.prompt_hash}) == 3
    assert Omni(model="x").prompt_hash == Omni().prompt_hash


def test_an_empty_or_missing_prompt_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    for name in ("empty.txt", "missing.txt"):
        with pytest.raises(ConfigError, match=name):
            Omni(RecipeConfig(prompt_file=str(tmp_path / name)))


def test_a_prompt_file_has_the_places_of_the_recipe_s_prompt(tmp_path: Path) -> None:
    prompt = tmp_path / "p.txt"
    prompt.write_text("Tell me.")
    with pytest.raises(ConfigError, match=r"p.txt has no \{context\}"):
        find_recipe("clips")(RecipeConfig(prompt_file=str(prompt)))


def test_sound_that_is_off_is_not_sampled() -> None:
    recipe = Omni(RecipeConfig(sound="off"))
    assert recipe.plan == Omni.plan.model_copy(update={"audio_rate": None})
    assert (Omni().sound, recipe.sound) == ("require", "off")


def test_sound_that_the_plan_does_not_sample_cannot_be_required() -> None:
    silent = SamplingPlan(num_frames=8)
    with pytest.raises(ConfigError, match=r"set recipe\.plan\.audio_rate"):
        Omni(RecipeConfig(plan=silent, sound="require"))
    # What the recipe says of itself is about its own plan.
    assert Omni(RecipeConfig(plan=silent)).plan == silent
