"""The rehearsal: what is right passes, and what is wrong names the setting that helps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.engine.loading import EngineSettings, load
from actors.engine.rehearsal import Scene, rehearse, shown
from actors.engine.script import Script
from schemas.errors import ModelError
from tests.support.models.checkpoint import Checkpoint
from tests.support.models.engines import loaded
from tests.support.models.glm import glm41v
from tests.support.models.others import gemma3, internvl, llava_onevision
from tests.support.models.qwen import qwen3_omni, qwen3_text, qwen3_vl, qwen25_vl

SCRIPT = Script(
    prompt="Describe the video.", system="Be short.", answer=100, frames=6, size=(224, 224),
    seconds=60.0, audio_rate=16_000, sound_required=False,
)  # fmt: skip
LOUD = dataclasses.replace(SCRIPT, sound_required=True)


def rehearsed(
    family: Callable[[], Checkpoint], folder: Path, script: Script = SCRIPT, **args: Any
) -> dict[str, Scene]:
    scenes = rehearse(loaded(family().write(folder / "model"), **args), script)
    return {scene.name: scene for scene in scenes}


@pytest.mark.parametrize("family", [qwen25_vl, qwen3_vl, internvl, llava_onevision, gemma3, glm41v])
def test_a_model_that_sees_passes(family: Callable[[], Checkpoint], tmp_path: Path) -> None:
    scenes = rehearsed(family, tmp_path)
    assert list(scenes) == ["a single frame", "a short clip", "the longest clip"]
    assert all(sum(scene.media.values()) > 0 for scene in scenes.values())


def test_a_model_that_hears_hears_all_of_it(tmp_path: Path) -> None:
    scenes = rehearsed(qwen3_omni, tmp_path, LOUD)
    assert list(scenes)[1:] == ["a short clip with sound", "the longest clip", "sound alone"]
    assert scenes["the longest clip"].media["audio"] > 60 * 12
    lines = list(shown(list(scenes.values()), texts=True))
    assert any("<|image_pad|>*" in line and "Describe the video." in line for line in lines)


def test_a_model_of_texts_rehearses_a_text(tmp_path: Path) -> None:
    script = Script(prompt="Fuse: {}", system="Be short.", answer=100)
    assert list(rehearsed(qwen3_text, tmp_path, script)) == ["text"]


@pytest.mark.parametrize(
    ("family", "script", "said"),
    [
        (qwen3_vl, LOUD, r"does not hear .* set recipe\.sound to off"),
        (qwen3_text, SCRIPT, r"sees nothing \(it takes no media\)"),
    ],
)
def test_a_model_without_the_sense(
    family: Callable[[], Checkpoint], script: Script, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=said):
        rehearsed(family, tmp_path, script)


def test_a_clip_beyond_the_context(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a short clip: .*context"):
        rehearsed(gemma3, tmp_path, max_model_len=512)


def test_a_processor_that_samples_again(tmp_path: Path) -> None:
    model = loaded(internvl().write(tmp_path / "model"))
    model.prompts.adapter._may_sample = False
    with pytest.raises(ModelError, match="makes 10 frames of 16"):
        rehearse(model, dataclasses.replace(SCRIPT, frames=16))


def test_a_processor_that_assumes_a_rate(tmp_path: Path) -> None:
    model = loaded(qwen3_omni().write(tmp_path / "model"))
    model.prompts.adapter._interleaves = False
    with pytest.raises(ModelError, match=r"told 2\.00 s between pairs of frames"):
        rehearse(model, dataclasses.replace(SCRIPT, audio_rate=None))


PLACES = (
    "{% for message in messages %}{% if message.role == 'user' %}"
    "{% for part in message.content %}{{ part.text }}{% if part.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% endfor %}{% endif %}{% endfor %}"
)
"""Without a system message."""


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[-1].content.split('>')[-1] }}", "has no place for a medium"),
        ("{{ messages }}", "a list of Python"),
        (f"{{{{ raise_exception('no system') if messages | length > 1 }}}}{PLACES}",
         "no system message; set recipe.system_prompt to ''"),
        (PLACES, r"leaves out the text of recipe\.system_prompt"),
    ],
)  # fmt: skip
def test_a_template_that_loses_something(tmp_path: Path, template: str, said: str) -> None:
    folder = dataclasses.replace(qwen25_vl(), template=template).write(tmp_path / "model")
    with pytest.raises(ModelError, match=said):
        rehearse(loaded(folder), SCRIPT)


def test_the_template_of_a_file_is_taken(tmp_path: Path) -> None:
    folder = dataclasses.replace(qwen3_text(), template="{{ messages }}").write(tmp_path / "model")
    settings = EngineSettings(
        model=str(folder), base_dir=".", revision=None, on_gpu=False,
        args={"max_model_len": 2048, "dtype": "bfloat16", "limit_mm_per_prompt": {"video": 0}},
        chat_template=qwen3_text().template,
        chat_template_kwargs={"enable_thinking": True},
    )  # fmt: skip
    script = Script(prompt="Fuse: {}", system="Be short.", answer=100)
    (scene,) = rehearse(load(settings), script)
    assert scene.text.endswith("Fuse: {}<|im_end|>\n<|im_start|>assistant\n")
