"""Recipes against a scripted asker: what is asked, how often, and what is kept."""

import dataclasses
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
from schemas.recipe import Answer, Request


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


@pytest.mark.parametrize(("kept", "stored"), [(True, "Let me see."), (False, None)])
async def test_what_was_thought_is_stored_on_request(kept: bool, stored: str | None) -> None:
    class Thinking(ScriptedEngine):
        async def ask(self, request: Request) -> Answer:
            answer = await super().ask(request)
            return dataclasses.replace(answer, reasoning="Let me see.", reasoning_tokens=5)

    recipe = Omni(RecipeConfig(keep_reasoning=kept))
    (row,) = await recipe.caption(sample_video(recipe.plan), Thinking(["A dog."]))
    assert (row.caption, row.reasoning, row.reasoning_tokens) == ("A dog.", stored, 5)


async def test_sound_alone_and_picture_alone() -> None:
    """As the benchmark of UGC-VideoCaptioner was annotated: each stage is shown one of them."""
    for name, frames, sound in (("heard", 0, True), ("seen", 32, False), ("omni", 32, True)):
        recipe = find_recipe(name)()
        engine = ScriptedEngine(["A tone."])
        (row,) = await recipe.caption(sample_video(recipe.plan), engine)
        (request,) = engine.requests
        assert request.clip is not None and request.clip.num_frames == frames
        assert (request.clip.audio is not None) == sound
        assert (row.num_frames, row.caption_status) == (frames, "ok")
    prompts = {find_recipe(name)().prompt_hash for name in ("heard", "seen", "omni")}
    assert len(prompts) == 3


async def test_several_samples() -> None:
    """Each drawn with a seed of its own, and checked and asked again for itself."""
    recipe = Omni(RecipeConfig(samples=3))
    engine = ScriptedEngine(lambda request: f"Seed {request.generation.seed}.")
    rows = await recipe.caption(sample_video(recipe.plan), engine)
    assert [(row.sample, row.caption) for row in rows] == [
        (0, "Seed 42."), (1, "Seed 1042."), (2, "Seed 2042.")
    ]  # fmt: skip
    assert (recipe.requests_per_video, Omni.requests_per_video) == (3, 1)
    (row,) = await Omni().caption(sample_video(Omni.plan), ScriptedEngine(["One."]))
    assert row.sample is None
    with pytest.raises(ConfigError, match="clips does not ask once per video"):
        find_recipe("clips")(RecipeConfig(samples=2))


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
    assert Omni.plan != plan and Omni().system != "Be short.", "the class is as it was"
    with pytest.raises(ConfigError, match="the recipe t2v decodes nothing"):
        find_recipe("t2v")(config)


def test_prompt_file_and_system_prompt_change_the_hash(tmp_path: Path) -> None:
    prompt = tmp_path / "p.txt"
    prompt.write_text("  Tell me.\n")
    changed = Omni(RecipeConfig(prompt_file=str(prompt)))
    bare = Omni(RecipeConfig(system_prompt=""))
    assert changed.prompt == "Tell me."
    assert (Omni().prompt_source, changed.prompt_source) == ("built-in", "own")
    assert bare.prompt_source == "own"
    assert len({Omni().prompt_hash, changed.prompt_hash, bare.prompt_hash}) == 3
    assert Omni(model="x").prompt_hash == Omni().prompt_hash


def test_a_prompt_file_is_all_that_is_said(tmp_path: Path) -> None:
    prompt = tmp_path / "p.txt"

    def said(text: str, **config: str) -> tuple[str, str]:
        prompt.write_text(text)
        recipe = Omni(RecipeConfig(prompt_file=str(prompt), **config))
        return recipe.system, recipe.prompt

    assert said("Tell me.") == ("", "Tell me."), "without the recipe's own system message"
    assert said("[system]\nBe brief.\n\n[user]  \nTell me.\n") == ("Be brief.", "Tell me.")
    assert said("[user]\nTell me.\n[system]\nBe brief.\n") == ("Be brief.", "Tell me.")
    assert said("[system]\nTell me.") == ("Tell me.", "")
    assert said("Read the [user] sign.") == ("", "Read the [user] sign.")
    assert said("[system]\nA.\n[user]\nB.", system_prompt="C.") == ("C.", "B.")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Hello.\n[user]\nTell me.", "text before its first"),
        ("[user]\nTell me.\n[user]\nAgain.", "a part twice"),
        ("[system]\n\n[user]\n", "is empty"),
    ],
)
def test_a_prompt_file_that_is_not_one(tmp_path: Path, text: str, wrong: str) -> None:
    prompt = tmp_path / "p.txt"
    prompt.write_text(text)
    with pytest.raises(ConfigError, match=f"p.txt .*{wrong}"):
        Omni(RecipeConfig(prompt_file=str(prompt)))


def test_only_the_first_prompt_file_has_a_system_message(tmp_path: Path) -> None:
    prompt = tmp_path / "p.txt"
    prompt.write_text("[system]\nA.\n[user]\nB.")
    with pytest.raises(ConfigError, match=r"only recipe\.prompt_file may hold a system message"):
        find_recipe("clips")(RecipeConfig(options={"frame_prompt_file": str(prompt)}))


async def test_what_fills_a_place_has_no_places() -> None:
    engine = ScriptedEngine(["yes"])
    recipe = Omni(RecipeConfig(system_prompt="{b}: {a}"))
    await recipe.ask(engine, prompt="{a} and {other}", places={"a": "{b}", "b": "{a}"})
    assert engine.requests[0].system == "{a}: {b}"
    assert engine.requests[0].prompt == "{b} and {other}"


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
    prompt.write_text("[system]\nBefore: {context}\n[user]\nTell me.")
    assert find_recipe("clips")(RecipeConfig(prompt_file=str(prompt))).system


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
