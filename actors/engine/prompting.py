"""From a request to vLLM's input: chat template, texts that stay texts, and media."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from actors.engine.adapters import NOTHING, Adapter, ModelInput, Shown
from actors.engine.plain_text import BREAK, PlainText
from schemas.budget import SHORTEST_SOUND_SEC, Budget
from schemas.errors import CaptionError, ModelError, PromptTooLongError, RequestRejectedError
from schemas.media import Clip
from schemas.recipe import Request

PYTHON_TEXT = "[{'"
"""How a list of parts begins where a template prints it."""


class PromptBuilder:
    """Builds prompts for one model.

    Args:
        renderer: the engine's ``vllm.renderers.BaseRenderer``: it finds the chat template, knows
            whether that takes text or lists of parts, and how a text names its media.
        budget: what a request may cost; None where nothing is known of that.
        chat_template: in the place of the model's own.
        chat_template_kwargs: what the template is told beside the messages. Without a word on it,
            a template that can keep the model from thinking aloud is told to.

    Attributes:
        text: the model's tokenizer, for text that is data.
        adapter: how clips are shown to the model.

    Raises:
        ModelError: from the constructor, if the model has no chat template.
    """

    def __init__(
        self,
        renderer: Any,
        budget: Budget | None = None,
        *,
        chat_template: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        from vllm.exceptions import VLLMValidationError
        from vllm.renderers import ChatParams
        from vllm.renderers.chat_utils import ChatTemplateResolutionError
        from vllm.renderers.hf import HfRenderer
        from vllm.tokenizers import cached_tokenizer_from_config

        self._renderer = renderer
        self._budget = budget
        self._params, self._untokenized = (
            ChatParams(
                chat_template=chat_template,
                chat_template_kwargs={
                    "add_generation_prompt": True,
                    "enable_thinking": False,
                    **(chat_template_kwargs or {}),
                    **more,
                },
            )
            for more in ({}, {"tokenize": False})
        )
        self.text = PlainText(cached_tokenizer_from_config(renderer.model_config))
        self._is_jinja = isinstance(renderer, HfRenderer)
        config = renderer.model_config
        processor = renderer.mm_processor
        self.adapter = Adapter(
            None if processor is None else processor.info, config.hf_config.architectures or ()
        )
        try:
            renderer.render_messages(_messages(Request(prompt="?")), self._params)
        except (ChatTemplateResolutionError, VLLMValidationError) as error:
            raise ModelError(
                f"{config.model} has no chat template for a user's message, and rayjob needs an "
                f"instruct model: {error}"
            ) from error
        if self._prints_lists():
            # It takes lists of parts from users, and texts alone from the system.
            self._params, self._untokenized = (
                dataclasses.replace(each, chat_template_content_format="string")
                for each in (self._params, self._untokenized)
            )
        self._needs_user = not self._takes_system_alone()

    def _takes_system_alone(self) -> bool:
        """Whether the template says a system message to which no user's turn belongs."""
        if not self._is_jinja:
            return False
        said = "a system message"
        try:
            _, rendered = self._renderer.render_messages(
                _messages(Request(prompt="", system=said)), self._untokenized
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
        shown = NOTHING if clip is None else self.adapter.show(clip)
        is_exact = self._is_jinja and not shown.kinds
        mark = BREAK if is_exact else " "
        request = await asyncio.to_thread(self._as_data, request, shown.kinds, mark)
        is_broken = is_exact and BREAK in request.system + request.prompt
        _, rendered = await self._renderer.render_messages_async(
            _messages(request, shown, needs_user=self._needs_user),
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
            shown = self.adapter.show(admitted)
        return {"prompt_token_ids": ids, **shown.input}

    def _prints_lists(self) -> bool:
        """Whether the template prints a system message as a Python list."""
        from vllm.exceptions import VLLMValidationError

        asked = Request(prompt="?", system="?")
        try:
            _, rendered = self._renderer.render_messages(_messages(asked), self._untokenized)
        except (ValueError, VLLMValidationError):
            return False  # it takes no system message
        return PYTHON_TEXT in str(rendered.get("prompt", ""))

    def _as_data(self, request: Request, kinds: Collection[str], mark: str) -> Request:
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


_TOO_LONG = ("maximum context length", "maximum model length", "max_model_len", "longer than")
"""What vLLM says of a prompt beyond the context, before and after media are put in."""


def rejection(error: Exception) -> CaptionError:
    """What vLLM says of a request, as an error of the request."""
    text = " ".join(str(error).split())
    if any(words in text for words in _TOO_LONG):
        return PromptTooLongError(
            f"the prompt does not fit the model's context: {text}. "
            "Sample fewer or smaller frames, or raise engine.max_model_len."
        )
    return RequestRejectedError(f"the engine refused the request: {text}")


def _messages(
    request: Request, shown: Shown = NOTHING, *, needs_user: bool = False
) -> list[dict[str, Any]]:
    """The conversation, with a place for each medium; where the user says and shows nothing, the
    system message alone, unless ``needs_user``.
    """
    user = {"role": "user", "content": [*shown.parts, {"type": "text", "text": request.prompt}]}
    system = [{"role": "system", "content": request.system}] if request.system else []
    is_silent = not (request.prompt or shown.parts)
    return system if system and is_silent and not needs_user else [*system, user]


def _audible(clip: Clip) -> Clip:
    if clip.audio is None or len(clip.audio) >= SHORTEST_SOUND_SEC * clip.audio_rate:
        return clip
    return dataclasses.replace(clip, audio=None, audio_rate=0)
