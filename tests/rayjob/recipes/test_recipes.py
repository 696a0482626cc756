"""Recipes against a scripted asker: what is asked, how often, and what is kept."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from rayjob.recipes import find_recipe
from rayjob.recipes.asking import ask
from rayjob.recipes.omni import Omni
from rayjob.recipes.rules import complete, non_empty
from rayjob.recipes.settings import settings_for
from schemas.config import GenerationConfig, RecipeConfig
from schemas.errors import ConfigError
from schemas.media import Clip, VideoInfo
from schemas.recipe import Answer, Request, Video


class Scripted:
    """Answers with the given texts in turn; a text that ends in '~' is cut off."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.requests: list[Request] = []

    async def ask(self, request: Request) -> Answer:
        self.requests.append(request)
        text = self.texts.pop(0)
        reason = "length" if text.endswith("~") else "stop"
        return Answer(text=text, finish_reason=reason, prompt_tokens=10, output_tokens=3)  # type: ignore[arg-type]


def clip(frames: int = 4) -> Clip:
    info = VideoInfo(
        duration_sec=4.0, fps=25.0, width=64, height=48, has_video=True, has_audio=False
    )
    return Clip(
        info=info,
        frames=np.zeros((frames, 48, 64, 3), np.uint8),
        timestamps=np.arange(frames, dtype=np.float64),
    )


async def test_a_good_answer_is_asked_for_once() -> None:
    engine = Scripted("A dog.")
    outcome = await ask(engine, Request(prompt="?"), rules=[non_empty], max_attempts=3)
    assert (outcome.status, outcome.reason, outcome.attempts) == ("ok", None, 1)


async def test_a_bad_answer_is_asked_again_with_another_seed() -> None:
    engine = Scripted("", "A dog.")
    request = Request(prompt="?", generation=GenerationConfig(temperature=0.0, seed=42))
    outcome = await ask(engine, request, rules=[non_empty], max_attempts=3)
    assert (outcome.answer.text, outcome.status, outcome.attempts) == ("A dog.", "ok", 2)
    assert outcome.prompt_tokens == 20
    assert [r.generation.seed for r in engine.requests] == [42, 43]
    assert [r.generation.temperature for r in engine.requests] == [0.0, 0.2]


async def test_the_first_answer_is_kept_when_all_are_bad() -> None:
    engine = Scripted("one~", "two~", "")
    rules = [non_empty, complete]
    outcome = await ask(engine, Request(prompt="?"), rules=rules, max_attempts=3)
    assert (outcome.answer.text, outcome.status, outcome.attempts) == ("one~", "truncated", 3)
    outcome = await ask(Scripted("", "x~"), Request(prompt="?"), rules=rules, max_attempts=2)
    assert (outcome.status, outcome.reason) == ("invalid", "empty")


async def test_omni_row() -> None:
    config = RecipeConfig(min_words=2)
    settings = settings_for(Omni.defaults, config, model="m", model_revision="r1")
    engine = Scripted("word", "two words")
    video = Video(video_id="a.mp4", uri="/v/a.mp4", metadata='{"k":1}', clip=clip())
    (row,) = await Omni(settings).caption(video, engine)
    assert (row.video_id, row.level, row.index, row.caption) == ("a.mp4", "video", 0, "two words")
    assert (row.start_sec, row.end_sec, row.num_frames, row.has_audio) == (0.0, 4.0, 4, False)
    assert (row.attempts, row.model, row.model_revision, row.metadata) == (2, "m", "r1", '{"k":1}')
    assert engine.requests[0].clip is video.clip
    assert engine.requests[0].generation.temperature == 0.2
    assert engine.requests[0].generation.max_tokens == 1024


def test_published_settings_of_omni() -> None:
    plan = Omni.defaults.plan
    assert (plan.num_frames, plan.max_pixels, plan.audio_rate) == (32, 100_352, 16_000)
    assert Omni.defaults.max_model_len == 20_000


def test_prompt_file_and_system_prompt_change_the_hash(tmp_path: Path) -> None:
    prompt = tmp_path / "p.txt"
    prompt.write_text("  Tell me.\n")
    default = settings_for(Omni.defaults, RecipeConfig(), model="m", model_revision=None)
    changed = settings_for(
        Omni.defaults, RecipeConfig(prompt_file=str(prompt)), model="m", model_revision=None
    )
    bare = settings_for(
        Omni.defaults, RecipeConfig(system_prompt=""), model="m", model_revision=None
    )
    assert changed.prompt == "Tell me."
    assert len({default.prompt_hash, changed.prompt_hash, bare.prompt_hash}) == 3
    assert dataclasses.replace(default, model="x").prompt_hash == default.prompt_hash


def test_an_empty_or_missing_prompt_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    for name in ("empty.txt", "missing.txt"):
        config = RecipeConfig(prompt_file=str(tmp_path / name))
        with pytest.raises(ConfigError, match=name):
            settings_for(Omni.defaults, config, model="m", model_revision=None)


def test_recipes_by_name() -> None:
    assert find_recipe("omni") is Omni
    assert find_recipe("rayjob.recipes.omni:Omni") is Omni
    with pytest.raises(ConfigError, match=r"no recipe 'omny'; there are: .*omni"):
        find_recipe("omny")
    with pytest.raises(ConfigError, match="cannot be imported"):
        find_recipe("nowhere:Thing")
    with pytest.raises(ConfigError, match="no usable name"):
        find_recipe("json:dumps")
