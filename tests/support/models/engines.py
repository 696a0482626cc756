"""Checkpoints without weights, as engines load them; and with random ones, as they answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from actors.engine.loading import EngineSettings, Loaded, load
from actors.engine.vllm_engine import VllmEngine
from rayjob.capacity.pool import engine_pool
from schemas.config import EngineConfig
from schemas.recipe import Answer, Request
from tests.support.engines import SOUND, machines, omni_engine


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


Ask = Callable[[Sequence[Request]], list[Answer]]
"""Asks an engine many requests at once."""


@contextlib.contextmanager
def answering(checkpoint: Path, **engine: Any) -> Iterator[Ask]:
    """An engine of a model whose weights are random.

    Args:
        engine: settings of that section, beside those of a small engine on the CPU.
    """
    small = {
        "device": "cpu", "dtype": "bfloat16", "load_format": "dummy", "max_model_len": 4096,
        "max_num_seqs": 8, "kv_cache_bytes": 128 << 20,
    }  # fmt: skip
    config = EngineConfig(**{"model": str(checkpoint), **small, **engine})
    started = VllmEngine(engine_pool(omni_engine(config, plan=SOUND), machines()).settings)

    async def ask(requests: Sequence[Request]) -> list[Answer]:
        return await asyncio.gather(*map(started.ask, requests))

    try:
        with asyncio.Runner() as loop:
            yield lambda requests: loop.run(ask(requests))
    finally:
        started.close()
