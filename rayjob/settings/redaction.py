"""A configuration fit to be stored and shown: without anything that could be a secret."""

from __future__ import annotations

from typing import Any

from actors.storage.uris import display_uri
from schemas.config import FuseConfig, JobConfig
from schemas.settings import settings_of

HIDDEN = "(hidden)"

_TYPED = {setting.key for kind in (JobConfig, FuseConfig) for setting in settings_of(kind)}
"""Our own settings. None of them takes a secret, but an address may carry one."""

_HARMLESS = {
    # of vLLM's engine and the model's configuration
    "architectures", "attention_backend", "code_revision", "config_format", "convert",
    "cudagraph_mode", "distributed_executor_backend", "generation_config", "kv_cache_dtype",
    "load_format", "mm_encoder_attn_backend", "mm_processor_cache_type", "model_impl",
    "performance_mode", "quantization", "rope_type", "runner", "scheduling_policy", "tokenizer",
    "tokenizer_mode", "tokenizer_revision",
    # of our own recipes
    "change_prompt_file", "frame_prompt_file", "frame_sets", "next_prompt_file",
    "part_prompt_file", "questions_file", "sensitive_words_file",
}  # fmt: skip
"""Names of texts that are shown where any name is possible: in ``engine.vllm_args``,
``engine.mm_processor_kwargs`` and ``recipe.options``. Others are hidden."""


def shown_config(value: Any, *, key: str = "") -> Any:
    """The configuration with every text hidden that is not known to be harmless.

    Numbers and truth values are shown, and addresses without user, password and query.

    Args:
        value: a configuration as plain data, or the part of it at ``key``.
    """
    if isinstance(value, dict):
        inside = f"{key}." if key else ""
        return {name: shown_config(item, key=f"{inside}{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [shown_config(item, key=key) for item in value]
    if not isinstance(value, str) or not value:
        return value
    return display_uri(value) if key in _TYPED or key.split(".")[-1] in _HARMLESS else HIDDEN
