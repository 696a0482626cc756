"""Captions per GPU-hour of the job beside its engine alone: ``python -m benchmarks.gpu``.

Random weights of real shapes, answers of a fixed length, and clips of half a minute that all
differ. On one GPU, by default Qwen3-VL-8B with six frames of 448 x 448; and as the last line,
JSON. ``--model tiny-omni`` and ``tiny-qwen3-vl`` run on CPUs.

- *engine*: requests are prepared beforehand; what the GPU does.
- *prepare*: requests that one engine begins in a second, by itself.
- *engine with prepare*: both at once, clips decoded beforehand.
- *job*: ``python -m rayjob.caption``, from the moment its engine is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from actors.decoding.decoder import decode
from actors.engine.loading import EngineSettings
from actors.engine.vllm_engine import VllmEngine
from actors.storage.access import open_range
from benchmarks.gpu import clips, recipes
from benchmarks.gpu.busy import BusyGpu
from benchmarks.gpu.checkpoints import CHECKPOINTS
from rayjob.capacity import cluster
from rayjob.capacity.engine_spec import recipe_engine
from rayjob.capacity.pool import engine_pool
from rayjob.recipes import find_recipe
from rayjob.settings.loading import read_config
from schemas.config import JobConfig
from schemas.media import DecodedVideo
from schemas.recipe import Answer, Request, Video

_RECIPES = {"qwen3-vl": recipes.Seen, "omni": recipes.Heard}


def main() -> None:
    """Run all parts and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=CHECKPOINTS, default="qwen3-vl-8b")
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--max-num-seqs", type=int, default=128)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--folder", type=Path, help="clips of an earlier run, or where to put them")
    parser.add_argument("--engine-only", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    (recipe,) = (each for name, each in _RECIPES.items() if name in asked.model)
    with tempfile.TemporaryDirectory() as work:
        model = asked.engine_only or Path(work) / asked.model
        folder = asked.folder or Path(work) / "clips"
        settings = [
            *(f"recipe.name={recipes.__file__}:{recipe.__name__}", f"engine.model={model}"),
            *("engine.load_format=dummy", "engine.dtype=bfloat16", "engine.max_model_len=8192"),
            *(f"engine.max_num_seqs={asked.max_num_seqs}", *asked.changes),
        ]
        if asked.engine_only:
            print(json.dumps(asyncio.run(_engine(sorted(folder.iterdir()), settings))))
            return
        CHECKPOINTS[asked.model](model)
        if not folder.exists():
            clips.render(folder, asked.clips)
        with BusyGpu() as gpu:
            alone = _engine_process(model, folder)
            job = _job(folder, Path(work) / "out", settings, gpu)
    rates = {**alone, **job}
    ratios = {
        "job_over_engine": rates["job_per_sec"] / rates["engine_per_sec"],
        "job_over_engine_with_prepare": rates["job_per_sec"] / rates["engine_with_prepare_per_sec"],
        "captions_per_gpu_hour": 3600 * rates["job_per_sec"],
    }
    known = {"model": asked.model, "gpu": gpu.name, "clips": asked.clips}
    print(json.dumps({**known, **rates, **ratios}))


def _engine_process(model: Path, folder: Path) -> dict[str, float]:
    """In a process of its own, which leaves the GPU empty."""
    command = [*_again(), "--engine-only", str(model), "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _again() -> list[str]:
    return [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:]]


async def _engine(paths: Sequence[Path], settings: Sequence[str]) -> dict[str, float]:
    config = read_config(JobConfig, assignments=settings, flags={"input": ["-"], "output": "-"})
    recipe = find_recipe(config.recipe.name)(config.recipe, model=config.engine.model)
    assert recipe.plan is not None
    plan = recipe.plan

    def decoded(path: Path) -> DecodedVideo:
        with open_range(str(path), config.storage) as source:
            return decode(source, plan, config.decode.limits)

    pool = engine_pool(recipe_engine(config.engine, recipe), cluster.peek())
    assert isinstance(pool.settings, EngineSettings)
    engine = VllmEngine(pool.settings)
    with ThreadPoolExecutor() as threads:
        videos = [
            Video(video_id=path.name, uri=str(path), metadata=None, decoded=video)
            for path, video in zip(paths, threads.map(decoded, paths), strict=True)
        ]
    asked = _Asked()
    for video in videos:
        await recipe.caption(video, asked)
    requests = asked.requests

    started = time.perf_counter()
    prepared = await asyncio.gather(*map(engine.prepare, requests))
    result = {"prepare_per_sec": len(requests) / (time.perf_counter() - started)}
    slots = asyncio.Semaphore(pool.videos_in_flight)

    async def rate(one: Callable[[int], Awaitable[Any]]) -> float:
        async def in_turn(number: int) -> None:
            async with slots:
                await one(number)

        started = time.perf_counter()
        await asyncio.gather(*map(in_turn, range(len(requests))))
        return len(requests) / (time.perf_counter() - started)

    # The last ones warm the engine up, and have left its caches when their turn comes.
    last = range(len(requests))[-8:]
    await asyncio.gather(*(engine.generate(prepared[at], requests[at]) for at in last))
    result["engine_per_sec"] = await rate(lambda at: engine.generate(prepared[at], requests[at]))
    result["engine_with_prepare_per_sec"] = await rate(lambda at: engine.ask(requests[at]))
    engine.close()
    return result


class _Asked:
    """Takes a recipe's requests down."""

    def __init__(self) -> None:
        self.max_model_len = 1 << 20
        self.requests: list[Request] = []

    async def ask(self, request: Request) -> Answer:
        self.requests.append(request)
        return Answer(text="-", finish_reason="stop", prompt_tokens=1, output_tokens=1)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [0] * len(texts)


def _job(folder: Path, output: Path, settings: Sequence[str], gpu: BusyGpu) -> dict[str, Any]:
    command = [
        *(sys.executable, "-m", "rayjob.caption", "--input", str(folder), "--output", str(output)),
        *(word for setting in settings for word in ("--set", setting)),
    ]
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    ready = started + summary["startup_sec"]
    return {
        "job_per_sec": summary["captions"] / (summary["wall_sec"] - summary["startup_sec"]),
        "job_startup_sec": summary["startup_sec"],
        "job_engine_busy_fraction": summary["engine_busy_fraction"],
        "job_gpu_busy_fraction": gpu.since(ready),
    }


if __name__ == "__main__":
    main()
