"""What is loaded of a model before its weights: configuration, tokenizer, processor."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.engine.prompting import PromptBuilder
from actors.engine.reasoning import Reasoning
from actors.engine.script import Script
from actors.storage.folder import StoredFolder
from schemas.budget import Budget
from schemas.errors import ConfigError, ModelError, OpenError

if TYPE_CHECKING:
    from actors.engine.vllm_engine import VllmEngine


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """All that a replica needs to start; plain data, made on the driver.

    Attributes:
        model: checkpoint folder, hub name, or address of a storage. A relative folder is looked
            for in the worker's directory first, then in ``base_dir``.
        base_dir: the driver's working directory.
        on_gpu: run on the GPUs that Ray assigns, else on the CPU.
        args: fields of ``vllm.AsyncEngineArgs``.
        environment: variables that vLLM reads when it is imported.
        prepare_processes: that prepare its requests; 0 for the engine's own process.
        budget: what a request with a clip may cost; None where none has any.
        chat_template: text of the chat template, None for the model's own.
        chat_template_kwargs: what the template is told beside the messages.
        script: what is rehearsed before the weights are loaded; None for nothing.
        stored: the model's folder in a storage, where it is copied to the node first.
        model_dir: holds such copies.
    """

    model: str
    base_dir: str
    revision: str | None
    on_gpu: bool
    args: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    prepare_processes: int = 0
    budget: Budget | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    script: Script | None = None
    stored: StoredFolder | None = None
    model_dir: str = ""

    @property
    def max_num_seqs(self) -> int:
        """Sequences that the engine batches at once."""
        return int(self.args["max_num_seqs"])

    def start(self) -> VllmEngine:
        """The engine."""
        from actors.engine.vllm_engine import VllmEngine

        return VllmEngine(self)

    def local_model(self) -> str:
        """The model as vLLM takes it: an existing folder, a hub name, or an address to stream from.

        Raises:
            ModelError: it cannot be copied to this node.
        """
        if self.stored is not None:
            try:
                return str(self.stored.fetch(Path(self.model_dir).expanduser()))
            except (OpenError, OSError) as error:
                raise ModelError(
                    f"the model {self.model} cannot be copied to {self.model_dir} "
                    f"(engine.model_dir) of the node {socket.gethostname()}: {error}"
                ) from error
        for folder in (Path(self.model), Path(self.base_dir) / self.model):
            if folder.is_dir():
                return str(folder.resolve())
        return self.model


def fetch_model(settings: EngineSettings) -> str:
    """Bring a model's files to this node; returns the folder that they are in.

    Raises:
        ModelError: they cannot be had here.
    """
    model = settings.local_model()
    if os.path.isdir(model):
        return model
    if model.count("/") != 1:
        raise ModelError(f"the node {socket.gethostname()} has no folder {model}")
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(
            model,
            revision=settings.revision,
            cache_dir=settings.args.get("download_dir"),
            ignore_patterns=["original/*", "*.gguf", "*.onnx", "*.pth"],
        )
    except Exception as error:
        # The hub's client has many kinds of errors.
        reason = without_token(str(error).strip() or repr(error))
        raise ModelError(
            f"the node {socket.gethostname()} cannot fetch {model} from the hub: {reason}"
        ) from None


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
        ConfigError: this vLLM does not know one of the arguments.
    """
    os.environ.update(settings.environment)
    streams = str(settings.args.get("load_format")).startswith("runai_streamer")
    if streams and importlib.util.find_spec("runai_model_streamer") is None:
        raise ModelError(
            "engine.load_format is runai_streamer, and runai-model-streamer is not installed on "
            f"the node {socket.gethostname()}: install it, with its part for the storage, or leave "
            "that setting at auto, for copies of the model on each node"
        )
    check_arguments(settings.args)
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


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """No search for garbage while vLLM is imported, and afterwards none in what is there by then.

    Of the seconds of CPU that the import takes these searches are a quarter, in which they find
    nothing; later each would look at its million objects again, while requests wait.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def check_arguments(names: Iterable[str]) -> None:
    """Raise ConfigError where this machine's vLLM lacks an argument."""
    from vllm import AsyncEngineArgs

    unknown = set(names) - {each.name for each in fields(AsyncEngineArgs)}
    if unknown:
        raise ConfigError(
            f"engine.vllm_args: this vLLM has no {', '.join(sorted(unknown))}; "
            "the names are the fields of vllm.AsyncEngineArgs"
        )


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
        prompts = prompt_builder(settings, renderer)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise ModelError(f"vLLM cannot load {settings.model!r}: {_advised(error)}") from None
    parser = args.reasoning_parser
    return Loaded(
        config=config,
        renderer=renderer,
        prompts=prompts,
        reasoning=Reasoning(
            parser,
            renderer.get_tokenizer(),
            chat_template_kwargs={"enable_thinking": False, **settings.chat_template_kwargs},
        )
        if parser
        else None,
    )


def without_token(text: str) -> str:
    """A message without the hub's token, which its client quotes where it cannot be sent."""
    return _TOKEN.sub("hf_***", text)


_TOKEN = re.compile(r"\bhf_\w{4,}")

_ADVICE = {
    "trust_remote_code": "The checkpoint brings code of its own. Set engine.trust_remote_code to "
    "run it, after a look at it",
    "derived max_model_len": "Lower engine.max_model_len (--context-length)",
}
"""By what an error of vLLM says: what to do about it."""


def _advised(error: Exception) -> str:
    text = without_token(" ".join(str(error).split()))
    advice = next((each for words, each in _ADVICE.items() if words in text), None)
    return f"{advice}. {text}" if advice else text
