"""From a request to vLLM's input: chat template, media, and what a model wants beside.

Any vLLM multimodal model with a chat template works as it is. A model that needs
something special gets an adapter, chosen by its architecture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.errors import ModelError
from schemas.media import Clip
from schemas.recipe import Request

ModelInput = dict[str, Any]
"""vLLM's ``TextPrompt``: prompt, multi_modal_data, mm_processor_kwargs."""

OMNI_ARCHITECTURES = frozenset(
    {"Qwen2_5OmniModel", "Qwen2_5OmniForConditionalGeneration"},
)
"""Models whose processor interleaves the sound of a video with its frames."""


class PromptBuilder:
    """Builds prompts for one model.

    Args:
        tokenizer: the model's tokenizer, with its chat template.
        config: vLLM's ``ModelConfig``.
        sound_in_video: interleave sound with frames where the model can.
    """

    def __init__(self, *, tokenizer: Any, config: Any, sound_in_video: bool) -> None:
        self._template = _chat_template(tokenizer, config)
        omni = OMNI_ARCHITECTURES.intersection(config.hf_config.architectures or ())
        self._media: Callable[[Clip], tuple[list[str], ModelInput]]
        self._media = _omni_media if omni and sound_in_video else _plain_media

    def build(self, request: Request) -> ModelInput:
        """The input for one request. Media come before the text, as models are trained."""
        kinds, extra = self._media(request.clip) if request.clip is not None else ([], {})
        content = [{"type": kind} for kind in kinds]
        messages: list[dict[str, Any]] = []
        if request.system:
            system = [{"type": "text", "text": request.system}]
            messages.append({"role": "system", "content": system})
        messages.append(
            {"role": "user", "content": [*content, {"type": "text", "text": request.prompt}]}
        )
        return {"prompt": self._template(messages), **extra}


def _plain_media(clip: Clip) -> tuple[list[str], ModelInput]:
    """Frames as a video (or one image), sound as an audio item of its own."""
    kinds: list[str] = []
    data: dict[str, Any] = {}
    if len(clip.frames) == 1:
        kinds.append("image")
        data["image"] = clip.frames[0]
    elif len(clip.frames):
        kinds.append("video")
        data["video"] = (clip.frames, _metadata(clip))
    if clip.audio is not None:
        kinds.append("audio")
        data["audio"] = (clip.audio, clip.audio_rate)
    return kinds, {"multi_modal_data": data}


def _omni_media(clip: Clip) -> tuple[list[str], ModelInput]:
    """Qwen2.5-Omni: sound inside the video, and true seconds per frame.

    The processor assumes 2 frames per second, and one second per temporal patch for the
    interleaving, unless both are given; wrong values shift sound against picture.
    """
    kinds, extra = _plain_media(clip)
    if "video" not in kinds:
        return kinds, extra
    fps = clip.sampled_fps
    options: dict[str, Any] = {"fps": fps, "second_per_grid_ts": [_TEMPORAL_PATCH / fps]}
    if "audio" in kinds:
        kinds = ["video"]
        options["use_audio_in_video"] = True
    return kinds, {**extra, "mm_processor_kwargs": options}


_TEMPORAL_PATCH = 2
"""Frames that Qwen's vision towers merge into one temporal patch."""


def _metadata(clip: Clip) -> dict[str, Any]:
    """What vLLM wants to know of frames that are already sampled."""
    return {
        "fps": clip.sampled_fps,
        "duration": clip.info.duration_sec,
        "total_num_frames": len(clip.frames),
        "frames_indices": list(range(len(clip.frames))),
        "video_backend": "rayjob",
        "do_sample_frames": False,
    }


def _chat_template(tokenizer: Any, config: Any) -> Callable[[list[dict[str, Any]]], str]:
    """The function that renders messages to text with the model's own template."""
    from transformers import AutoProcessor

    source: Any = tokenizer
    if getattr(tokenizer, "chat_template", None) is None:
        source = AutoProcessor.from_pretrained(
            config.model, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    if getattr(source, "chat_template", None) is None:
        raise ModelError(f"{config.model} has no chat template: rayjob needs an instruct model")

    def render(messages: list[dict[str, Any]]) -> str:
        text = source.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return str(text)

    return render
