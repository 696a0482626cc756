"""What reaches the model: chat text, media, and the true time between frames."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from actors.prompting import PromptBuilder
from schemas.errors import ModelError
from schemas.media import Clip, VideoInfo
from schemas.recipe import Request


class Tokenizer:
    """Renders messages so that a test can read them."""

    chat_template = "yes"

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: object) -> str:
        assert options == {"tokenize": False, "add_generation_prompt": True}
        turns = []
        for message in messages:
            parts = [part.get("text", f"<{part['type']}>") for part in message["content"]]
            turns.append(f"{message['role']}:{''.join(parts)}")
        return "|".join(turns)


def builder(architecture: str, *, sound_in_video: bool = True) -> PromptBuilder:
    config = SimpleNamespace(hf_config=SimpleNamespace(architectures=[architecture]))
    return PromptBuilder(tokenizer=Tokenizer(), config=config, sound_in_video=sound_in_video)


def clip(*, frames: int, sound: bool, every: float = 0.5) -> Clip:
    info = VideoInfo(
        duration_sec=frames * every, fps=25.0, width=4, height=4, has_video=frames > 0,
        has_audio=sound,
    )  # fmt: skip
    return Clip(
        info=info,
        frames=np.zeros((frames, 4, 4, 3), np.uint8),
        timestamps=np.arange(frames) * every,
        audio=np.zeros(1600, np.float32) if sound else None,
        audio_rate=16_000 if sound else 0,
    )


OMNI = "Qwen2_5OmniForConditionalGeneration"
OTHER = "Qwen2_5_VLForConditionalGeneration"


def test_omni_interleaves_sound_with_true_times() -> None:
    shown = clip(frames=8, sound=True, every=0.8)
    built = builder(OMNI).build(Request(prompt="Tell.", clip=shown))
    assert built["prompt"] == "user:<video>Tell."
    options = built["mm_processor_kwargs"]
    assert options["use_audio_in_video"] is True
    assert options["fps"] == pytest.approx(1.25)
    assert options["second_per_grid_ts"] == pytest.approx([1.6])
    frames, metadata = built["multi_modal_data"]["video"]
    assert frames is shown.frames
    assert metadata["fps"] == pytest.approx(1.25)
    assert metadata["frames_indices"] == list(range(8))
    assert built["multi_modal_data"]["audio"] == (shown.audio, 16_000)


def test_omni_without_sound_keeps_true_times() -> None:
    built = builder(OMNI).build(Request(prompt="Tell.", clip=clip(frames=4, sound=False)))
    assert built["mm_processor_kwargs"] == {"fps": 2.0, "second_per_grid_ts": [1.0]}
    assert "audio" not in built["multi_modal_data"]


@pytest.mark.parametrize(
    ("frames", "sound", "prompt", "media"),
    [
        (8, True, "user:<video><audio>Tell.", {"video", "audio"}),
        (8, False, "user:<video>Tell.", {"video"}),
        (1, False, "user:<image>Tell.", {"image"}),
        (0, True, "user:<audio>Tell.", {"audio"}),
    ],
)
def test_other_models_get_items(frames: int, sound: bool, prompt: str, media: set[str]) -> None:
    shown = clip(frames=frames, sound=sound)
    built = builder(OTHER).build(Request(prompt="Tell.", clip=shown))
    assert (built["prompt"], set(built["multi_modal_data"])) == (prompt, media)
    assert "mm_processor_kwargs" not in built


def test_text_only_and_system_message() -> None:
    built = builder(OMNI).build(Request(prompt="Tell.", system="Be short."))
    assert built == {"prompt": "system:Be short.|user:Tell."}


def test_a_single_frame_lasts_a_second() -> None:
    assert clip(frames=1, sound=False).sampled_fps == 1.0
    assert clip(frames=5, sound=False, every=0.25).sampled_fps == 4.0


def test_a_model_without_a_chat_template(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    class Bare:
        chat_template = None

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", lambda *a, **k: Bare())
    config = SimpleNamespace(
        hf_config=SimpleNamespace(architectures=[OTHER]), model="base", revision=None,
        trust_remote_code=False,
    )  # fmt: skip
    with pytest.raises(ModelError, match="base has no chat template"):
        PromptBuilder(tokenizer=Bare(), config=config, sound_in_video=True)
