"""vLLM's own prompt rendering without an engine: what it makes of a request, in a second."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

OMNI = Path("models/tiny-omni")

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""A chat template that joins strings, as those of Qwen2.5-Instruct and MiniCPM-V do: content
that is a list of parts is an error in it."""


def renderer_of(model: Path, *, tokenizer_mode: Any = "auto") -> Any:
    """The renderer that an engine of this checkpoint has; weights are not read."""
    from vllm import AsyncEngineArgs
    from vllm.renderers import renderer_from_config

    arguments = AsyncEngineArgs(
        model=str(model),
        tokenizer_mode=tokenizer_mode,
        max_model_len=4096,
        enforce_eager=True,
        mm_processor_cache_gb=0,
        mm_processor_kwargs={"size": {"shortest_edge": 6272, "longest_edge": 12800}},
    )
    return renderer_from_config(arguments.create_engine_config())


def omni_with_chatml(folder: Path) -> Path:
    """The embedded model with :data:`CHATML`."""
    shutil.copytree(OMNI, folder)
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


def text_model(folder: Path, *, template: str | None) -> Path:
    """A text model, without weights, whose tokenizer puts a token before every text.

    Its vocabulary is the embedded model's, its chat template has no such token.
    """
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.from_file(str(OMNI / "tokenizer.json"))
    first = tokenizer.token_to_id("<|endoftext|>")
    tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", first)]
    )
    settings = json.loads((OMNI / "tokenizer_config.json").read_text())
    settings.pop("processor_class")
    return model_with(folder, tokenizer, settings, template=template)


def model_with(
    folder: Path, tokenizer: Any, settings: dict[str, Any], *, template: str | None
) -> Path:
    """A text model, without weights, that has this tokenizer."""
    from transformers import Qwen2Config

    folder.mkdir()
    config = Qwen2Config(
        vocab_size=8448,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        architectures=["Qwen2ForCausalLM"],
        dtype="bfloat16",
    )
    config.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def mistral_model(folder: Path, *, file: str, name: str) -> Path:
    """A text model, without weights, whose tokenizer is a file of Mistral's own kind.

    Args:
        file: one of those that come with ``mistral_common``.
        name: what it is called in a model's folder.
    """
    import mistral_common
    from transformers import MistralConfig

    folder.mkdir()
    config = MistralConfig(
        vocab_size=131_072,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        architectures=["MistralForCausalLM"],
        dtype="bfloat16",
    )
    config.save_pretrained(folder)
    shutil.copy(Path(mistral_common.__file__).parent / "data" / file, folder / name)
    return folder
