"""What reaches the model: chat text, media, and the true time between frames."""

import asyncio
import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.engine.prompting import ModelInput, PromptBuilder
from schemas.budget import Budget, ModelLimits
from schemas.errors import ModelError, PromptTooLongError
from schemas.media import Clip
from schemas.recipe import Request
from tests.support.renderers import CHATML, OMNI, omni_with_chatml, renderer_of, text_model

OMNI_NAME = "Qwen2_5OmniForConditionalGeneration"
OTHER_NAME = "MiniCPMO"


class Renderer:
    """Renders messages so that a test can read them, in the place of token ids."""

    def __init__(self, architecture: str) -> None:
        real = renderer_of(OMNI)
        self.mm_processor = real.mm_processor
        self.model_config = copy.copy(real.model_config)
        self.model_config.hf_config = copy.copy(self.model_config.hf_config)
        self.model_config.hf_config.architectures = [architecture]

    def render_messages(self, messages: list[dict[str, Any]], _: object) -> tuple[Any, ModelInput]:
        turns = []
        for message in messages:
            parts = [{"text": message["content"]}]
            if isinstance(message["content"], list):
                parts = message["content"]
            text = "".join(part.get("text", f"<{part.get('type')}>") for part in parts)
            turns.append(f"{message['role']}:{text}")
        return messages, {"prompt_token_ids": "|".join(turns)}

    async def render_messages_async(self, *arguments: Any) -> tuple[Any, ModelInput]:
        return self.render_messages(*arguments)


def built(renderer: Any, request: Request) -> ModelInput:
    return asyncio.run(PromptBuilder(renderer).build(request))


def clip(*, frames: int, sound: bool, every: float = 0.5) -> Clip:
    return Clip(
        duration_sec=frames * every,
        frames=np.zeros((frames, 112, 112, 3), np.uint8),
        timestamps=np.arange(frames) * every,
        audio=np.zeros(1600, np.float32) if sound else None,
        audio_rate=16_000 if sound else 0,
    )


# ---- the media of each architecture


def test_omni_interleaves_sound_with_true_times() -> None:
    shown = clip(frames=8, sound=True, every=0.75)
    prompt = built(Renderer(OMNI_NAME), Request(prompt="Tell.", clip=shown))
    assert prompt["prompt_token_ids"] == "user:<video_url>Tell."
    options = prompt["mm_processor_kwargs"]
    assert options["use_audio_in_video"] is True
    assert options["fps"] == pytest.approx(4 / 3)
    assert options["second_per_grid_ts"] == [1.5]
    frames, metadata = prompt["multi_modal_data"]["video"]
    assert frames is shown.frames
    assert metadata["fps"] == pytest.approx(4 / 3)
    assert metadata["frames_indices"] == list(range(8))
    assert prompt["multi_modal_data"]["audio"] == (shown.audio, 16_000)


def test_omni_without_sound_keeps_true_times() -> None:
    prompt = built(
        Renderer(OMNI_NAME), Request(prompt="Tell.", clip=clip(frames=4, sound=False, every=1.0))
    )
    assert prompt["mm_processor_kwargs"]["fps"] == 1.0
    assert "audio" not in prompt["multi_modal_data"]


@pytest.mark.parametrize(
    ("frames", "sound", "text", "media"),
    [
        (8, True, "user:<video_url><audio_url>Tell.", {"video", "audio"}),
        (8, False, "user:<video_url>Tell.", {"video"}),
        (1, False, "user:<image_url>Tell.", {"image"}),
        (0, True, "user:<audio_url>Tell.", {"audio"}),
    ],
)
def test_other_models_get_items(frames: int, sound: bool, text: str, media: set[str]) -> None:
    shown = clip(frames=frames, sound=sound)
    prompt = built(Renderer(OTHER_NAME), Request(prompt="Tell.", clip=shown))
    assert (prompt["prompt_token_ids"], set(prompt["multi_modal_data"])) == (text, media)
    again = {"do_sample_frames": False} if "video" in media else None
    assert prompt.get("mm_processor_kwargs") == again


def test_text_only_and_system_message() -> None:
    prompt = built(Renderer(OMNI_NAME), Request(prompt="Tell.", system="Be short."))
    assert prompt == {"prompt_token_ids": "system:Be short.|user:Tell."}


def test_a_single_frame_lasts_a_second() -> None:
    assert clip(frames=1, sound=False).sampled_fps == 1.0
    assert clip(frames=5, sound=False, every=0.25).sampled_fps == 4.0


# ---- real chat templates, tokenizers and processors


def text_of(renderer: Any, request: Request) -> str:
    """The prompt as the engine gets it, media in their short form."""
    text: str = renderer.get_tokenizer().decode(built(renderer, request)["prompt_token_ids"])
    return text


@pytest.fixture(scope="module")
def omni() -> Any:
    return renderer_of(OMNI)


@pytest.fixture(scope="module")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return renderer_of(omni_with_chatml(tmp_path_factory.mktemp("chatml") / "model"))


@pytest.mark.parametrize(
    ("frames", "sound", "place"),
    [
        (8, True, "<|vision_bos|><|VIDEO|><|vision_eos|>"),
        (1, False, "<|vision_bos|><|IMAGE|><|vision_eos|>"),
        (0, True, "<|audio_bos|><|AUDIO|><|audio_eos|>"),
    ],
)
def test_a_template_of_parts(omni: Any, frames: int, sound: bool, place: str) -> None:
    request = Request(prompt="Tell.", system="Be short.", clip=clip(frames=frames, sound=sound))
    assert text_of(omni, request) == (
        "<|im_start|>system\nBe short.<|im_end|>\n"
        f"<|im_start|>user\n{place}Tell.<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("frames", "sound", "place"),
    [
        (8, True, "<|VIDEO|>"),
        (1, False, "<|IMAGE|>"),
        (0, True, "<|AUDIO|>"),
    ],
)
def test_a_template_of_strings(chatml: Any, frames: int, sound: bool, place: str) -> None:
    request = Request(prompt="Tell.", system="Be short.", clip=clip(frames=frames, sound=sound))
    text = text_of(chatml, request)
    assert text.startswith("<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\n")
    assert text.endswith("\nTell.<|im_end|>\n<|im_start|>assistant\n")
    # How the text names a medium is the model's own affair; vLLM knows it of every model.
    assert text.count(place) == 1
    (prepared,) = chatml.render_cmpl([built(chatml, request)])
    assert all(prepared["mm_placeholders"].values())


def test_sound_is_the_same_as_with_all_its_padding(omni: Any) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 20_001).astype(np.float32)
    shown = dataclasses.replace(clip(frames=0, sound=True), audio=noise)
    short = built(omni, Request(prompt="Tell.", clip=shown))
    assert short["mm_processor_kwargs"] == {"audio_kwargs": {"max_length": 3 * 16_000}}
    heard = []
    for prompt in (short, {**short, "mm_processor_kwargs": {}}):
        (prepared,) = omni.render_cmpl([prompt])
        (item,) = prepared["mm_kwargs"]["audio"]
        heard.append(item["input_audio_features"].data.float().numpy())
    assert np.array_equal(*heard)


@pytest.mark.parametrize("frames", [0, 8])
def test_sound_that_the_model_has_no_token_for_is_left_out(omni: Any, frames: int) -> None:
    """Of 20 ms Qwen2.5-Omni makes no token, and its processor refuses the request."""
    sound = np.full(320, 0.1, np.float32)
    shown = dataclasses.replace(clip(frames=frames, sound=True), audio=sound)
    prompt = built(omni, Request(prompt="Tell.", clip=shown))
    assert "audio" not in prompt.get("multi_modal_data", {})
    (prepared,) = omni.render_cmpl([prompt])
    assert prepared["prompt_token_ids"]
    longer = dataclasses.replace(shown, audio=np.resize(sound, 640))
    (prepared,) = omni.render_cmpl([built(omni, Request(prompt="Tell.", clip=longer))])
    assert len(prepared["mm_placeholders"]["audio"]) == 1


def test_a_clip_beyond_the_budget_is_refused_before_its_media_are_processed() -> None:
    limits = ModelLimits(
        context=1024,
        sound_tokens_per_sec=25.0,
        positions=16_384,
        positions_per_sec=25.0,
        frames_per_token=2,
    )
    builder = PromptBuilder(Renderer(OMNI_NAME), Budget(limits=limits))
    long = dataclasses.replace(clip(frames=0, sound=True), audio=np.zeros(960_000, np.float32))
    with pytest.raises(PromptTooLongError, match=r"60\.0 s of sound"):
        asyncio.run(builder.build(Request(prompt="Tell.", clip=long)))
    with pytest.raises(PromptTooLongError, match="on the model's clock"):
        asyncio.run(
            builder.build(Request(prompt="Tell.", clip=clip(frames=8, sound=False, every=120.0)))
        )


def test_where_a_video_is_sampled_its_clock_is_told_to_be_shorter() -> None:
    limits = ModelLimits(context=1024, positions=16_384, positions_per_sec=25.0, frames_per_token=2)
    builder = PromptBuilder(Renderer(OMNI_NAME), Budget(limits=limits, on_too_long="sample"))
    shown = clip(frames=8, sound=False, every=1000.0)
    prompt = asyncio.run(builder.build(Request(prompt="Tell.", clip=shown)))
    last = 3 * 2 / prompt["mm_processor_kwargs"]["fps"] * 25
    assert 14_000 < last < 16_384 - 1024


def test_a_template_of_strings_without_media(tmp_path: Path) -> None:
    """As fusion asks Qwen2.5-Instruct. The tokenizer's own first token stays out."""
    renderer = renderer_of(text_model(tmp_path / "model", template=CHATML))
    request = Request(prompt="Tell.", system="Be short.")
    text = (
        "<|im_start|>system\nBe short.<|im_end|>\n"
        "<|im_start|>user\nTell.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert text_of(renderer, request) == text
    (prepared,) = renderer.render_cmpl([built(renderer, request)])
    assert renderer.get_tokenizer().decode(prepared["prompt_token_ids"]) == text


_WITHOUT_SYSTEM = (
    "{% for message in messages if message['role'] == 'user' %}"
    "{{ '<user>' + message['content'] }}{% endfor %}"
)
_REFUSING = "{% if messages[-1]['role'] != 'user' %}{{ raise_exception('no') }}{% endif %}" + CHATML


@pytest.mark.parametrize(
    ("template", "turn"), [(CHATML, False), (_REFUSING, True), (_WITHOUT_SYSTEM, True)]
)
def test_a_prompt_of_which_all_is_in_the_system_message(
    tmp_path: Path, template: str, turn: bool
) -> None:
    """Without a user's turn, where the template says such a message."""
    renderer = renderer_of(text_model(tmp_path / "model", template=template))
    text = text_of(renderer, Request(prompt="", system="Tell."))
    user = "<user>" if template == _WITHOUT_SYSTEM else "<|im_start|>user\n<|im_end|>\n"
    assert (user in text) == turn
    assert template == _WITHOUT_SYSTEM or text.startswith("<|im_start|>system\nTell.<|im_end|>\n")


def test_a_model_without_a_chat_template(tmp_path: Path) -> None:
    renderer = renderer_of(text_model(tmp_path / "model", template=None))
    with pytest.raises(ModelError, match="has no chat template"):
        PromptBuilder(renderer)
