"""Checkpoints without weights, as engines load them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.engine.loading import EngineSettings, Loaded, load
from schemas.recipe import Answer, Request


def loaded(checkpoint: Path, **args: Any) -> Loaded:
    """A model as an engine of a job loads it, but for its weights."""
    return load(_settings(checkpoint, **args))


@contextmanager
def asked(checkpoint: Path, **args: Any) -> Iterator[Callable[[Sequence[Request]], list[Answer]]]:
    """Start an engine with random weights; what is yielded asks it, all at once."""
    settings = _settings(
        checkpoint, load_format="dummy", max_num_seqs=8, kv_cache_memory_bytes=64 << 20, **args
    )
    with asyncio.Runner() as loop:
        engine = settings.start()

        async def ask(requests: Sequence[Request]) -> list[Answer]:
            return await asyncio.gather(*map(engine.ask, requests))

        try:
            yield lambda requests: loop.run(ask(requests))
        finally:
            engine.close()


def _settings(checkpoint: Path, **args: Any) -> EngineSettings:
    limits = {"image": 1, "video": 1, "audio": 1}
    given = {"max_model_len": 8192, "dtype": "bfloat16", "limit_mm_per_prompt": limits}
    return EngineSettings(
        model=str(checkpoint), base_dir=".", revision=None, on_gpu=False,
        args={**given, "enforce_eager": True, "mm_processor_cache_gb": 0, **args},
        environment={"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
