"""Checkpoints without weights, as engines load them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.engine.loading import EngineSettings, Loaded, load


def loaded(checkpoint: Path, **args: Any) -> Loaded:
    """A model as an engine of a job loads it, but for its weights."""
    limits = {"image": 1, "video": 1, "audio": 1}
    given = {"max_model_len": 8192, "dtype": "bfloat16", "limit_mm_per_prompt": limits}
    settings = EngineSettings(
        model=str(checkpoint), base_dir=".", revision=None, on_gpu=False,
        args={**given, "enforce_eager": True, "mm_processor_cache_gb": 0, **args},
        environment={"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    return load(settings)
