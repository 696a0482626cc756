"""How close the job comes to what the machine allows: ``python -m benchmarks.speed_of_light``.

One run, the same clips for all parts:

- *decode alone*: CPU-seconds per clip, one after the other in one process.
- *engine alone*: CPU-seconds per caption on one thread, all clips decoded beforehand, all in
  flight.
- *sequential*: a plain script, decode one, generate one, as the published scripts do.
- *job*: ``python -m rayjob.caption``, from the moment its engine is ready.

Speed of light = cores / (engine CPU-seconds + decode CPU-seconds). On a GPU the engine
takes next to no CPU, and job over engine is the figure to look at; both are printed.
Clips that were decoded while the engine started are a head start for the job; take many.
Absolute times mean nothing away from the machine they were measured on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from actors.decoding.decoder import decode
from actors.engine.vllm_engine import VllmEngine
from actors.storage.access import open_range
from rayjob.capacity import cluster
from rayjob.capacity.engine_spec import recipe_engine
from rayjob.capacity.pool import engine_pool
from rayjob.recipes import find_recipe
from rayjob.settings.loading import read_config
from schemas.config import JobConfig
from schemas.media import DecodedVideo
from schemas.recipe import Recipe, Video


def _decode_all(paths: list[Path], recipe: Recipe) -> list[DecodedVideo]:
    config = read_config(JobConfig, flags={"input": ["-"], "output": "-"})
    assert recipe.plan is not None
    clips = []
    for path in paths:
        with open_range(str(path), config.storage) as source:
            clips.append(decode(source, recipe.plan, config.decode.limits))
    return clips


def _recipe_and_engine(config_file: str) -> tuple[Recipe, Any]:
    config = read_config(JobConfig, config_file, flags={"input": ["-"], "output": "-"})
    kind = find_recipe(config.recipe.name)
    recipe = kind(config.recipe, model=config.engine.model)
    return recipe, engine_pool(recipe_engine(config.engine, recipe), cluster.peek())


def _cpu_seconds() -> float:
    """User and system time of this process and all its children so far."""
    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system
    return total


def _video(path: Path, clip: DecodedVideo) -> Video:
    return Video(video_id=path.name, uri=str(path), metadata=None, decoded=clip)


def phase_decode(paths: list[Path], config_file: str) -> dict[str, float]:
    """CPU-seconds per clip of decoding alone."""
    recipe, _ = _recipe_and_engine(config_file)
    _decode_all(paths[:3], recipe)
    before, started = time.process_time(), time.perf_counter()
    _decode_all(paths, recipe)
    wall = time.perf_counter() - started
    return {
        "cpu_sec_per_clip": (time.process_time() - before) / len(paths),
        "clips_per_sec": len(paths) / wall,
    }


def phase_engine(paths: list[Path], config_file: str) -> dict[str, float]:
    """CPU-seconds per caption of the engine alone, with as many in flight as in the job."""
    recipe, pool = _recipe_and_engine(config_file)
    clips = _decode_all(paths, recipe)

    async def run() -> dict[str, float]:
        engine = VllmEngine(pool.settings)
        slots = asyncio.Semaphore(pool.videos_in_flight)

        async def one(path: Path, clip: DecodedVideo) -> None:
            async with slots:
                await recipe.caption(_video(path, clip), engine)

        await asyncio.gather(*map(one, paths[:32], clips[:32]))
        before, started = _cpu_seconds(), time.perf_counter()
        await asyncio.gather(*map(one, paths, clips))
        wall, cpu = time.perf_counter() - started, _cpu_seconds() - before
        engine.close()
        return {"cpu_sec_per_caption": cpu / len(paths), "captions_per_sec": len(paths) / wall}

    return asyncio.run(run())


def phase_sequential(paths: list[Path], config_file: str) -> dict[str, float]:
    """Decode one, generate one."""
    recipe, pool = _recipe_and_engine(config_file)

    async def run() -> dict[str, float]:
        engine = VllmEngine(pool.settings)

        async def one(path: Path) -> None:
            (clip,) = _decode_all([path], recipe)
            await recipe.caption(_video(path, clip), engine)

        for path in paths[:4]:
            await one(path)
        # One at a time the rate does not depend on how many there are.
        some = paths[:150]
        started = time.perf_counter()
        for path in some:
            await one(path)
        wall = time.perf_counter() - started
        engine.close()
        return {"captions_per_sec": len(some) / wall}

    return asyncio.run(run())


PHASES = {"decode": phase_decode, "engine": phase_engine, "sequential": phase_sequential}


def _phase(name: str, folder: Path, config_file: str) -> dict[str, float]:
    """Run one part in a process of its own, so that none inherits threads from another."""
    command = [
        sys.executable, "-m", "benchmarks.speed_of_light",
        "--phase", name, "--folder", str(folder), "--config", config_file,
    ]  # fmt: skip
    # As Ray sets it for the job's engine, which has one CPU: a second thread mostly waits for
    # the first one, and its CPU-seconds would lower the speed of light.
    threads = {"OMP_NUM_THREADS": "1"} if name == "engine" else {}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **threads}
    )
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _job(folder: Path, output: Path, config_file: str) -> dict[str, float]:
    command = [
        sys.executable, "-m", "rayjob.caption",
        "--config", config_file, "--input", str(folder), "--output", str(output),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        "captions_per_sec": summary["captions"] / (summary["wall_sec"] - summary["startup_sec"]),
        "engine_busy_fraction": summary["engine_busy_fraction"],
    }


def render(folder: Path, count: int) -> None:
    from tinyworld.demo import render_clips
    from tinyworld.world import sample_scenes

    render_clips(sample_scenes(count, seed=5), folder)


def main() -> None:
    """Run all parts and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--config", default="configs/demo.yaml")
    parser.add_argument("--phase", choices=PHASES)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.phase:
        paths = sorted(arguments.folder.iterdir())
        print(json.dumps(PHASES[arguments.phase](paths, arguments.config)))
        return
    with tempfile.TemporaryDirectory() as work:
        folder = arguments.folder or Path(work) / "clips"
        if not arguments.folder:
            render(folder, arguments.clips)
        decoding = _phase("decode", folder, arguments.config)
        engine = _phase("engine", folder, arguments.config)
        sequential = _phase("sequential", folder, arguments.config)
        job = _job(folder, Path(work) / "out", arguments.config)
    cores = len(os.sched_getaffinity(0))
    light = cores / (engine["cpu_sec_per_caption"] + decoding["cpu_sec_per_clip"])
    print(
        json.dumps(
            {
                "cores": cores,
                "decode_alone": decoding,
                "engine_alone": engine,
                "sequential": sequential,
                "job": job,
                "speed_of_light_captions_per_sec": light,
                "job_over_speed_of_light": job["captions_per_sec"] / light,
                "job_over_engine_alone": job["captions_per_sec"] / engine["captions_per_sec"],
                "job_over_sequential": job["captions_per_sec"] / sequential["captions_per_sec"],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
