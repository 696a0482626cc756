"""What models of many families are shown of a clip: real processors, no weights."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.engine.loading import Loaded
from schemas.errors import ModelError
from schemas.media import Clip
from schemas.recipe import Request
from tests.support.models.engines import loaded
from tests.support.models.families import SEEING, write_family
from tests.support.models.others import gemma3, internvl_of_the_vendor
from tests.support.models.qwen import qwen25_vl
from tests.support.models.templates import of_strings

HEARING = {"Qwen3-Omni", "MiniCPM-o 4.5"}

MOMENTS = [0.0, 1.0, 2.0, 3.0, 20.0, 40.0]
"""Irregular, as a slide show's."""


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Loaded]:
    """A family's model by its name, loaded once."""
    known: dict[str, Loaded] = {}

    def find(name: str) -> Loaded:
        if name not in known:
            folder = write_family(name, tmp_path_factory.mktemp("family") / "model")
            # What MiniCPM's brings along is our own.
            known[name] = loaded(folder, trust_remote_code=True)
        return known[name]

    return find


def clip(moments: list[float], *, sound: bool = False) -> Clip:
    noise = np.random.default_rng(0).normal(0, 0.1, 41 * 16_000).astype(np.float32)
    return Clip(
        duration_sec=41.0,
        frames=np.zeros((len(moments), 224, 224, 3), np.uint8),
        timestamps=np.array(moments),
        audio=noise if sound else None,
        audio_rate=16_000 if sound else 0,
    )


def rendered(model: Loaded, request: Request) -> tuple[Any, str]:
    """vLLM's input, and its text with runs of one token written once."""
    (prepared,) = model.renderer.render_cmpl([asyncio.run(model.prompts.build(request))])
    text: str = model.renderer.get_tokenizer().decode(prepared["prompt_token_ids"])
    return prepared, re.sub(r"(<[^<>]{1,40}>)\1+", r"\1", text)


@pytest.mark.parametrize("name", SEEING)
def test_a_single_frame_is_an_image(family: Callable[[str], Loaded], name: str) -> None:
    """InternVL's processor takes no array for one."""
    prepared, _ = rendered(family(name), Request(prompt="Tell.", clip=clip([0.0])))
    assert len(prepared["mm_placeholders"]["image"]) == 1


def test_internvl_in_the_vendors_format(tmp_path: Path) -> None:
    """Its processor looks at the size of an image, which an array does not tell."""
    model = loaded(internvl_of_the_vendor().write(tmp_path / "model"), trust_remote_code=True)
    single, _ = rendered(model, Request(prompt="Tell.", clip=clip([0.0])))
    assert len(single["mm_placeholders"]["image"]) == 1
    several, _ = rendered(model, Request(prompt="Tell.", clip=clip(MOMENTS)))
    (item,) = several["mm_kwargs"]["video"]
    assert len(item["pixel_values_flat_video"].data) == len(MOMENTS)


@pytest.mark.parametrize("name", [*SEEING, "Qwen3"])
def test_a_system_message_stays_a_text(family: Callable[[str], Loaded], name: str) -> None:
    """GLM-4.1V's template prints what it is given of one, be it a list."""
    shown = None if name == "Qwen3" else clip(MOMENTS)
    _, text = rendered(family(name), Request(prompt="Tell.", system="Be short.", clip=shown))
    assert "Be short." in text
    assert "[{" not in text


FRAMES = {
    # Frames or pairs of them, by what the processor returns.
    "Qwen2.5-VL": 3,
    "Qwen3-VL": 3,
    "Qwen3-VL with experts": 3,
    "Qwen3.5": 3,
    "Qwen3-Omni": 3,
    "InternVL3 and 3.5": 6,
    "LLaVA-OneVision": 6,
    "GLM-4.1V": 3,
    "GLM-4.5V": 3,
}


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_arrives(family: Callable[[str], Loaded], name: str) -> None:
    """Some checkpoints say that frames are to be sampled again; these are sampled already."""
    prepared, _ = rendered(family(name), Request(prompt="Tell.", clip=clip(MOMENTS)))
    (item,) = prepared["mm_kwargs"]["video"]
    if "video_grid_thw" in item:
        assert item["video_grid_thw"].data[0] == FRAMES[name]
    else:
        assert len(item["pixel_values_videos"].data) == FRAMES[name]


@pytest.mark.parametrize("name", ["Qwen3-VL", "Qwen3-VL with experts", "Qwen3.5"])
def test_irregular_moments_are_told_as_they_are(family: Callable[[str], Loaded], name: str) -> None:
    """Of each pair of frames the middle."""
    _, text = rendered(family(name), Request(prompt="Tell.", clip=clip(MOMENTS)))
    assert re.findall(r"<([\d.]+) seconds>", text) == ["0.5", "2.5", "30.0"]


def test_glm_is_told_whole_seconds(family: Callable[[str], Loaded]) -> None:
    _, text = rendered(family("GLM-4.1V"), Request(prompt="Tell.", clip=clip(MOMENTS)))
    assert re.findall(r"<\|end_of_image\|>(\d+)", text) == ["0", "2", "20"]


@pytest.mark.parametrize("name", ["Qwen2.5-VL", "Qwen3-Omni"])
def test_a_model_of_one_rate_is_told_the_average(
    family: Callable[[str], Loaded], name: str
) -> None:
    prepared, _ = rendered(family(name), Request(prompt="Tell.", clip=clip(MOMENTS)))
    (item,) = prepared["mm_kwargs"]["video"]
    assert item["second_per_grid_ts"].data.item() == pytest.approx(2 * 40 / 5)


def test_a_model_of_images_sees_each_with_its_moment(family: Callable[[str], Loaded]) -> None:
    prepared, text = rendered(family("Gemma 3"), Request(prompt="Tell.", clip=clip(MOMENTS)))
    assert len(prepared["mm_placeholders"]["image"]) == len(MOMENTS)
    order = [text.index(f"{moment:.1f} s: ") for moment in MOMENTS]
    assert order == sorted(order)
    assert order[-1] < text.index("Tell.")


def test_images_keep_their_places_in_a_template_of_strings(tmp_path: Path) -> None:
    template = of_strings().replace("<|im_start|>", "<start_of_turn>")
    template = template.replace("<|im_end|>", "<end_of_turn>")
    model = loaded(dataclasses.replace(gemma3(), template=template).write(tmp_path / "model"))
    built = asyncio.run(model.prompts.build(Request(prompt="Tell.", clip=clip(MOMENTS[:2]))))
    text = model.renderer.get_tokenizer().decode(built["prompt_token_ids"])
    first, second, asked = text.index("0.0 s: "), text.index("1.0 s: "), text.index("Tell.")
    images = [match.start() for match in re.finditer("<start_of_image>", text)]
    assert first < images[0] < second < images[1] < asked


def test_the_sound_of_qwen3_omni_is_inside_the_picture(family: Callable[[str], Loaded]) -> None:
    shown = clip(MOMENTS, sound=True)
    prepared, text = rendered(family("Qwen3-Omni"), Request(prompt="Tell.", clip=shown))
    between = "<|video_pad|><|audio_pad|>"
    assert f"<|audio_start|>{between * 3}<|audio_end|>" in text
    tokenizer = family("Qwen3-Omni").renderer.get_tokenizer()
    sound = tokenizer.convert_tokens_to_ids("<|audio_pad|>")
    ids = prepared["prompt_token_ids"]
    first = ids.index(sound)
    heard = next(at for at, number in enumerate(ids[first:]) if number != sound)
    assert heard == 16 * 13, "a pair of frames lasts 16 s, and a second has 13 tokens"


def test_the_sound_of_minicpm_o_is_behind_the_picture(family: Callable[[str], Loaded]) -> None:
    shown = clip(MOMENTS, sound=True)
    _, text = rendered(family("MiniCPM-o 4.5"), Request(prompt="Tell.", clip=shown))
    assert text.rindex("</image>") < text.index("<|audio_start|>") < text.index("Tell.")
    assert text.count("<|audio_start|>") == 41, "one for each second"


def test_other_sound_changes_what_the_model_hears(family: Callable[[str], Loaded]) -> None:
    shown = clip(MOMENTS, sound=True)
    assert shown.audio is not None
    heard = []
    for sound in (shown.audio, -shown.audio[::-1]):
        request = Request(prompt="Tell.", clip=dataclasses.replace(shown, audio=sound))
        prepared, _ = rendered(family("Qwen3-Omni"), request)
        (item,) = prepared["mm_kwargs"]["audio"]
        heard.append(item["input_audio_features"].data.float().numpy())
    assert not np.array_equal(*heard)


@pytest.mark.parametrize("name", sorted(set(SEEING) - HEARING))
def test_a_deaf_model_is_shown_the_picture_alone(
    family: Callable[[str], Loaded], name: str
) -> None:
    prepared, _ = rendered(family(name), Request(prompt="Tell.", clip=clip(MOMENTS, sound=True)))
    assert "audio" not in prepared["mm_placeholders"]


@pytest.mark.parametrize(
    ("name", "moments", "takes"),
    [("Qwen3", MOMENTS, "texts"), ("Gemma 3", [], "image"), ("Qwen3", [], "texts")],
)
def test_a_clip_of_which_a_model_takes_nothing(
    family: Callable[[str], Loaded], name: str, moments: list[float], takes: str
) -> None:
    shown = clip(moments, sound=True)
    with pytest.raises(ValueError, match=f"takes {takes} alone"):
        asyncio.run(family(name).prompts.build(Request(prompt="Tell.", clip=shown)))


def test_a_checkpoint_with_code_of_its_own(tmp_path: Path) -> None:
    brought = qwen25_vl()
    config = {
        **brought.config,
        "model_type": "of_its_own",
        "auto_map": {"AutoConfig": "configuration_own.OwnConfig"},
    }
    folder = dataclasses.replace(brought, config=config).write(tmp_path / "model")
    with pytest.raises(ModelError, match=r"Set engine\.trust_remote_code to run it"):
        loaded(folder)
