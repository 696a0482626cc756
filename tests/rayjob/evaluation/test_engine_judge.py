"""A local model as judge: the embedded one, through real vLLM in a Ray actor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path

import psutil
import pytest

from rayjob.capacity.model_shapes import published_models
from rayjob.capacity.pool import engine_pool
from rayjob.evaluation.engine_judge import EngineJudge, judge_engine
from schemas.config import EngineConfig, GenerationConfig
from schemas.errors import ConfigError
from schemas.media import StorageOptions
from schemas.recipe import Request
from tests.support.engines import machines
from tests.support.evaluations import evaluate, jsonl, scores
from tests.support.jobs import ROOT, is_engine

SMALL = {
    "device": "cpu",
    "dtype": "bfloat16",
    "max_model_len": 2048,
    "max_num_seqs": 8,
    "kv_cache_bytes": 64 << 20,
}


@pytest.mark.vllm
def test_judges_that_share_a_gpu_get_their_part_of_its_memory() -> None:
    config = EngineConfig(model=published_models()[0], gpus_per_engine=0.5)
    pool = engine_pool(judge_engine(config, StorageOptions()), machines(2, type_="H100"))
    assert pool.replicas == 4
    assert pool.settings.args["gpu_memory_utilization"] == 0.45
    assert 20e9 < pool.settings.args["kv_cache_memory_bytes"] < 36e9
    # Neither picture nor sound: no memory is set aside for them, and instructions are cached.
    assert set(pool.settings.args["limit_mm_per_prompt"].values()) == {0}
    assert pool.settings.args["enable_prefix_caching"] is True
    quarter = EngineConfig(model=published_models()[0], gpus_per_engine=0.25)
    with pytest.raises(ConfigError, match=r"does not fit 0\.25 of a GPU of 24 GB"):
        engine_pool(judge_engine(quarter, StorageOptions()), machines(2, type_="L4"))


@pytest.mark.vllm
@pytest.mark.usefixtures("local_ray")
def test_the_embedded_model_judges(tmp_path: Path) -> None:
    """It is no good judge; guided decoding still makes every answer a score."""
    captions = [
        {"video_id": f"v{at}", "caption": f"A {word} circle moves left on a blue background."}
        for at, word in enumerate(("large red", "small white", "large green"))
    ]
    rows, labels = jsonl(tmp_path / "c.jsonl", captions), jsonl(tmp_path / "l.jsonl", captions)
    settings = [part for key, value in SMALL.items() for part in ("--set", f"engine.{key}={value}")]
    arguments = (
        "--suite", "ugc", "--input", rows, "--labels", labels, "--scores", tmp_path / "out",
        "--judge-engine", ROOT / "models/tiny-omni", "--set", "judge.max_tokens=64", *settings,
    )  # fmt: skip
    done = evaluate(*arguments)
    assert done.code == 0, done.stderr
    assert done.result["asked"] == 3 and done.result["unscored"]["count"] == 0
    assert "tiny-omni@" in done.result["judge"]
    stored = scores(tmp_path / "out")
    assert len(stored) == 9
    for row in stored:
        assert json.loads(row["raw_answer"])[row["dimension"]] == row["score"]
        assert row["score"] in (1, 2, 3, 4, 5)
    # All is known now: no engine starts, and so none can fail to.
    again = evaluate(*arguments, "--set", "engine.max_model_len=999999")
    assert again.result["asked"] == 0 and again.values() == done.values()


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("fault", ["suspend", "kill"])
def test_a_judge_that_stands_still_or_dies_starts_again(fault: str) -> None:
    """The question that was in flight is answered all the same, and nothing is left."""
    config = EngineConfig.model_validate(SMALL | {"model": str(ROOT / "models/tiny-omni")})
    question = Request(prompt="What moves?", generation=GenerationConfig(max_tokens=8))

    def engines() -> list[psutil.Process]:
        found = []
        for each in psutil.Process(os.getpid()).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it ended in this moment
                if is_engine(each):
                    found.append(each)
        return found

    async def ask() -> None:
        judge = EngineJudge(config, StorageOptions(), patience=10)
        assert (await judge.ask(question)).text
        (first,) = engines()
        getattr(first, fault)()
        assert (await judge.ask(question)).text
        (second,) = engines()
        assert second.pid != first.pid
        await judge.aclose()

    asyncio.run(ask())
    _, alive = psutil.wait_procs(engines(), timeout=30)
    assert alive == []
