"""From a request to vLLM's input: chat template, media, and what a model wants beside.

Any vLLM multimodal model with a chat template works as it is. A model that needs
something special gets an adapter, chosen by its architecture.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable
from typing import Any

from actors.engine.plain_text import BREAK, PlainText
from schemas.budget import SHORTEST_SOUND_SEC, Budget
from schemas.errors import ModelError
from schemas.media import Clip
from schemas.recipe import Request

ModelInput = dict[str, Any]
"""vLLM's ``TokensPrompt``: prompt_token_ids, multi_modal_data, mm_processor_kwargs."""

OMNI_ARCHITECTURES = frozenset(
    {"Qwen2_5OmniModel", "Qwen2_5OmniForConditionalGeneration"},
)
"""Models whose processor interleaves the sound of a video with its frames."""


class PromptBuilder:
    """Builds prompts for one model.

    Args:
        renderer: the engine's ``vllm.renderers.BaseRenderer``: it finds the chat template, knows
            whether that takes text or lists of parts, and how a text names its media.
        budget: what a request may cost; None where nothing is known of that.

    Attributes:
        text: the model's tokenizer, for text that is data.

    Raises:
        ModelError: from the constructor, if the model has no chat template.
    """

    def __init__(self, renderer: Any, budget: Budget | None = None) -> None:
        from vllm.exceptions import VLLMValidationError
        from vllm.renderers import ChatParams
        from vllm.renderers.chat_utils import ChatTemplateResolutionError
        from vllm.renderers.hf import HfRenderer
        from vllm.tokenizers import cached_tokenizer_from_config

        self._renderer = renderer
        self._budget = budget
        self._params, self._untokenized = (
            ChatParams(chat_template_kwargs={"add_generation_prompt": True, **more})
            for more in ({}, {"tokenize": False})
        )
        self.text = PlainText(cached_tokenizer_from_config(renderer.model_config))
        self._is_jinja = isinstance(renderer, HfRenderer)
        config = renderer.model_config
        omni = OMNI_ARCHITECTURES.intersection(config.hf_config.architectures or ())
        self._media: Callable[[Clip], tuple[list[str], ModelInput]]
        self._media = _omni_media if omni else _plain_media
        try:
            renderer.render_messages(_messages(Request(prompt="?"), []), self._params)
        except (ChatTemplateResolutionError, VLLMValidationError) as error:
            raise ModelError(
                f"{config.model} has no chat template for a user's message, and rayjob needs an "
                f"instruct model: {error}"
            ) from error
        self._needs_user = not self._takes_system_alone()

    def _takes_system_alone(self) -> bool:
        """Whether the template says a system message to which no user's turn belongs."""
        if not self._is_jinja:
            return False
        said = "a system message"
        try:
            _, rendered = self._renderer.render_messages(
                _messages(Request(prompt="", system=said), []), self._untokenized
            )
        # Whatever a template raises of a conversation that it was not written for.
        except Exception:
            return False
        return said in rendered["prompt"]

    async def build(self, request: Request) -> ModelInput:
        """The input for one request. Media come before the text, as models are trained.

        Sound that is too short for the model is left out. A clip beyond the budget is refused
        before anything is computed of it: some would end the engine's process.

        Only the template sets control tokens. Where a text of the request spells one, it stays
        text, letter by letter; in a request with media a space is put into it, because the
        processors of some models write such a prompt and tokenize it once more.

        Raises:
            PromptTooLongError: the clip does not fit the model.
            ValueError, vllm.exceptions.VLLMClientError: the template or the model refuses it.
        """
        clip = None if request.clip is None else _audible(request.clip)
        kinds, media = self._media(clip) if clip is not None else ([], {})
        is_exact = self._is_jinja and not kinds
        request = await asyncio.to_thread(self._as_data, request, kinds, BREAK if is_exact else " ")
        is_broken = is_exact and BREAK in request.system + request.prompt
        _, rendered = await self._renderer.render_messages_async(
            _messages(request, kinds, needs_user=self._needs_user),
            self._untokenized if is_broken else self._params,
        )
        # A text would be tokenized later on, and some tokenizers would put their own tokens
        # before those of the template.
        if is_broken:
            ids = await asyncio.to_thread(self.text.ids, rendered["prompt"])
        else:
            ids = rendered["prompt_token_ids"]
        if clip is not None and self._budget is not None:
            admitted = self._budget.admit(
                clip,
                text=len(ids),
                answer=request.generation.max_tokens or self._budget.limits.context,
            )
            _, media = self._media(admitted)
        return {"prompt_token_ids": ids, **media}

    def _as_data(self, request: Request, kinds: list[str], mark: str) -> Request:
        """The request with ``mark`` in whatever its texts must not say to the model or vLLM."""
        system, prompt = (self.text.broken(text, mark) for text in (request.system, request.prompt))
        for place in filter(None, map(self._place, kinds)):
            prompt = prompt.replace(place, place[:1] + mark + place[1:])
        return dataclasses.replace(request, system=system, prompt=prompt)

    def _place(self, kind: str) -> str:
        """How a text of the model names its first medium of a kind."""
        from vllm.model_executor.model_loader import get_model_cls

        place: str = get_model_cls(self._renderer.model_config).get_placeholder_str(kind, 1) or ""
        return place


def _messages(
    request: Request, kinds: list[str], *, needs_user: bool = False
) -> list[dict[str, Any]]:
    """The conversation, with a place for each medium; where the user says and shows nothing, the
    system message alone, unless ``needs_user``.

    With an id and no address vLLM renders a place for what it is handed elsewhere.
    """
    places = [{"type": f"{kind}_url", f"{kind}_url": None, "uuid": kind} for kind in kinds]
    user = {"role": "user", "content": [*places, {"type": "text", "text": request.prompt}]}
    system = [{"role": "system", "content": request.system}] if request.system else []
    is_silent = not (request.prompt or kinds)
    return system if system and is_silent and not needs_user else [*system, user]


def _audible(clip: Clip) -> Clip:
    if clip.audio is None or len(clip.audio) >= SHORTEST_SOUND_SEC * clip.audio_rate:
        return clip
    return dataclasses.replace(clip, audio=None, audio_rate=0)


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
    interleaving, unless both are given; wrong values shift sound against picture. It also
    computes spectra of the longest sound that the model takes, unless told a length.
    """
    kinds, extra = _plain_media(clip)
    options: dict[str, Any] = {}
    if clip.audio is not None:
        # A second more than there is: the end of the sound is not the end of what is computed.
        seconds = math.ceil(len(clip.audio) / clip.audio_rate) + 1
        options["audio_kwargs"] = {"max_length": seconds * _WHISPER_RATE}
    if "video" in kinds:
        # vLLM 0.32 makes positions from `fps`, and the order of tokens from `second_per_grid_ts`.
        # Where patches are farther apart than two seconds, its order has all the sound up to the
        # next patch, but its positions two seconds of it: told two seconds at most, both agree.
        patch_sec = _to_bfloat16(_TEMPORAL_PATCH / clip.sampled_fps)
        options["fps"] = _TEMPORAL_PATCH / patch_sec
        options["second_per_grid_ts"] = [min(patch_sec, _INTERLEAVED_SEC)]
        if "audio" in kinds:
            kinds = ["video"]
            options["use_audio_in_video"] = True
    return kinds, {**extra, "mm_processor_kwargs": options} if options else extra


_TEMPORAL_PATCH = 2
"""Frames that Qwen's vision towers merge into one temporal patch."""

_INTERLEAVED_SEC = 2.0
"""Seconds of sound that stand together between the patches of a video."""

_WHISPER_RATE = 16_000
"""Samples per second of the sound that Qwen2.5-Omni hears; vLLM resamples to it."""


def _to_bfloat16(value: float) -> float:
    """The nearest bfloat16: 8 significant bits.

    vLLM orders tokens by the number that it is given, and makes positions from what the model's
    type keeps of it. Only where these are equal is every token in its place.
    """
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * 256), exponent - 8)


def _metadata(clip: Clip) -> dict[str, Any]:
    """What vLLM wants to know of frames that are already sampled."""
    return {
        "fps": clip.sampled_fps,
        "duration": clip.duration_sec,
        "total_num_frames": len(clip.frames),
        "frames_indices": list(range(len(clip.frames))),
        "video_backend": "rayjob",
        "do_sample_frames": False,
    }
