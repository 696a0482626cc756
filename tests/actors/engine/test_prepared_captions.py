"""Where its requests are prepared makes no difference to what the embedded model says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from actors.engine.preparing import pool as prepare_pool
from actors.engine.preparing.here import PrepareHere
from actors.engine.preparing.pool import PreparePool
from actors.engine.vllm_engine import VllmEngine
from rayjob.capacity.pool import engine_pool
from schemas.config import EngineConfig, GenerationConfig
from schemas.media import Clip
from schemas.recipe import Request
from tests.support.engines import machines, omni_engine
from tests.support.renderers import OMNI
from tinyworld.render import frames_at, render_audio
from tinyworld.world import Scene, sample_scenes

SECONDS = 4.0
PROMPT = Path("tinyworld/prompts/omni.txt")


def asked(scene: Scene) -> Request:
    times = np.linspace(0, SECONDS - 0.1, 8)
    clip = Clip(
        duration_sec=SECONDS,
        frames=frames_at(scene, times.tolist(), seconds=SECONDS, width=112, height=112),
        timestamps=times,
        audio=render_audio(scene, seconds=SECONDS),
        audio_rate=16_000,
    )
    generation = GenerationConfig(temperature=0.0, max_tokens=96)
    return Request(prompt=PROMPT.read_text(), clip=clip, generation=generation)


def started() -> VllmEngine:
    config = EngineConfig(
        model=str(OMNI), device="cpu", dtype="bfloat16", max_model_len=1024, max_num_seqs=8,
        kv_cache_bytes=64 << 20, prepare_processes=1,
        mm_processor_kwargs={"size": {"shortest_edge": 6272, "longest_edge": 12800}},
    )  # fmt: skip
    return VllmEngine(engine_pool(omni_engine(config), machines()).settings)  # type: ignore[arg-type]


def test_an_engine_prepares_by_itself_where_no_process_can(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prepare_pool, "_BOOTSTRAP", "raise SystemExit(1)")
    (scene,) = sample_scenes(1, seed=5)
    with asyncio.Runner() as loop:
        engine = started()
        try:
            assert isinstance(engine._preparer, PrepareHere)
            assert loop.run(engine.ask(asked(scene))).finish_reason == "stop"
        finally:
            engine.close()
    assert "the engine prepares requests itself" in caplog.text


def test_the_captions_are_equal() -> None:
    requests = [asked(scene) for scene in sample_scenes(4, seed=5)]
    with asyncio.Runner() as loop:
        engine = started()
        try:
            assert isinstance(engine._preparer, PreparePool)
            # One after the other: what shares a batch may round differently.
            beside = [loop.run(engine.ask(each)) for each in requests]
            pool, engine._preparer = (
                engine._preparer,
                PrepareHere(engine._llm.renderer, engine._prompts),
            )
            inside = [loop.run(engine.ask(each)) for each in requests]
            pool.close()
        finally:
            engine.close()
    assert beside == inside
    assert len({answer.text for answer in beside}) == len(requests)
