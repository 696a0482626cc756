"""What is loaded of a model before its weights: configuration, tokenizer, processor."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.engine.prompting import PromptBuilder
from actors.engine.reasoning import Reasoning
from actors.engine.script import Script
from schemas.budget import Budget
from schemas.errors import ModelError

if TYPE_CHECKING:
    from actors.engine.vllm_engine import VllmEngine


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """All that a replica needs to start; plain data, made on the driver.

    Attributes:
        model: checkpoint folder or hub name. A relative folder is looked for in the
            worker's directory first, then in ``base_dir``.
        base_dir: the driver's working directory.
        on_gpu: run on the GPUs that Ray assigns, else on the CPU.
        args: fields of ``vllm.AsyncEngineArgs``.
        environment: variables that vLLM reads when it is imported.
        budget: what a request with a clip may cost; None where none has any.
        chat_template: text of the chat template, None for the model's own.
        chat_template_kwargs: what the template is told beside the messages.
        script: what is rehearsed before the weights are loaded; None for nothing.
    """

    model: str
    base_dir: str
    revision: str | None
    on_gpu: bool
    args: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    budget: Budget | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    script: Script | None = None

    @property
    def max_num_seqs(self) -> int:
        """Sequences that the engine batches at once."""
        return int(self.args["max_num_seqs"])

    def start(self) -> VllmEngine:
        """The engine."""
        from actors.engine.vllm_engine import VllmEngine

        return VllmEngine(self)

    def local_model(self) -> str:
        """The model as vLLM takes it: an existing folder, or a hub name."""
        for folder in (Path(self.model), Path(self.base_dir) / self.model):
            if folder.is_dir():
                return str(folder.resolve())
        return self.model


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model without its weights.

    Attributes:
        config: vLLM's ``VllmConfig``, with the limits on media that its kind needs.
        renderer: vLLM's, which a request is turned into the model's input by.
        prompts: builds prompts with it.
        reasoning: tells what the model thinks from what it answers; None where all is an answer.
    """

    config: Any
    renderer: Any
    prompts: PromptBuilder
    reasoning: Reasoning | None


def load(settings: EngineSettings) -> Loaded:
    """Read configuration, tokenizer and processor as an engine does.

    Raises:
        ModelError: vLLM cannot; says what to set, where that is known.
    """
    os.environ.update(settings.environment)
    # Imported late: the environment above must be set.
    from vllm import AsyncEngineArgs

    args = AsyncEngineArgs(
        model=settings.local_model(), revision=settings.revision, **settings.args
    )
    loaded = _load(settings, args)
    pictures = settings.args["limit_mm_per_prompt"]["video"]
    if pictures and loaded.prompts.adapter.sees_images_only:
        limits = settings.args["limit_mm_per_prompt"] | {"image": settings.args["max_model_len"]}
        loaded = _load(
            settings, replace(args, limit_mm_per_prompt=limits, interleave_mm_strings=True)
        )
    return loaded


def prompt_builder(settings: EngineSettings, renderer: Any) -> PromptBuilder:
    """What builds an engine's prompts. See :class:`PromptBuilder` for what is raised."""
    return PromptBuilder(
        renderer,
        settings.budget,
        chat_template=settings.chat_template,
        chat_template_kwargs=settings.chat_template_kwargs,
    )


def _load(settings: EngineSettings, args: Any) -> Loaded:
    from vllm.renderers import renderer_from_config

    try:
        config = args.create_engine_config()
        renderer = renderer_from_config(config)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise ModelError(f"vLLM cannot load {settings.model!r}: {_advised(error)}") from error
    parser = args.reasoning_parser
    return Loaded(
        config=config,
        renderer=renderer,
        prompts=prompt_builder(settings, renderer),
        reasoning=Reasoning(
            parser,
            renderer.get_tokenizer(),
            chat_template_kwargs={"enable_thinking": False, **settings.chat_template_kwargs},
        )
        if parser
        else None,
    )


_ADVICE = {
    "trust_remote_code": "The checkpoint brings code of its own. Set engine.trust_remote_code to "
    "run it, after a look at it",
    "derived max_model_len": "Lower engine.max_model_len (--context-length)",
}
"""By what an error of vLLM says: what to do about it."""


def _advised(error: Exception) -> str:
    text = " ".join(str(error).split())
    advice = next((each for words, each in _ADVICE.items() if words in text), None)
    return f"{advice}. {text}" if advice else text
