"""What preparing a request costs the engine's own process: ``python -m benchmarks.prepare``.

Checkpoints of real processors and published settings, without weights. Each request is prepared in
this process, and by one process beside it; what counts is the CPU time of this process, all its
threads together, from the request until the engine has its input, as seconds of CPU hardly depend
on what else the machine does. ``handing_ms`` is what vLLM takes to hand a prepared request to the
process of a GPU engine, which is the same on both ways. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actors.engine.loading import EngineSettings, Loaded, load
from actors.engine.preparing.here import PrepareHere, Preparer
from actors.engine.preparing.pool import PreparePool
from schemas.media import Clip
from schemas.recipe import Request
from tests.support.models.families import write_family


@dataclass(frozen=True)
class Case:
    """A family and a clip as a recipe samples it: frames of a width and height, with sound."""

    family: str
    frames: int
    width: int
    height: int
    sound_sec: float = 0.0


CASES = (
    Case("Qwen2.5-Omni", 32, 422, 237, 30.0),
    Case("Qwen2.5-VL", 16, 518, 291),
    Case("InternVL3 and 3.5", 16, 518, 291),
    Case("Qwen3-VL", 20, 422, 237),
    Case("Qwen3-VL", 6, 448, 448),
)
_PUBLISHED_SIZE = {"shortest_edge": 3136, "longest_edge": 12_845_056}
_PUBLISHED_SOUND_SEC = 300


def _clip(case: Case, seed: int) -> Clip:
    noise = np.random.default_rng(seed)
    coarse = noise.integers(0, 255, (case.frames, 1 + case.height // 16, 1 + case.width // 16, 3))
    frames = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, : case.height, : case.width]
    sound = noise.normal(0, 0.1, int(case.sound_sec * 16_000)).astype(np.float32)
    return Clip(
        duration_sec=30.0,
        frames=np.ascontiguousarray(frames, np.uint8),
        timestamps=np.linspace(0, 29.9, case.frames),
        audio=sound if case.sound_sec else None,
        audio_rate=16_000 if case.sound_sec else 0,
    )


def _settings(case: Case, folder: Path) -> EngineSettings:
    checkpoint = write_family(case.family, folder)
    processor = checkpoint / "processor_config.json"
    if case.family == "Qwen2.5-Omni":
        # The embedded model's are smaller than those of the published ones.
        content = json.loads(processor.read_text())
        for name in ("image_processor", "video_processor"):
            content.setdefault(name, {})["size"] = _PUBLISHED_SIZE
        content["feature_extractor"] |= {
            "chunk_length": _PUBLISHED_SOUND_SEC,
            "n_samples": _PUBLISHED_SOUND_SEC * 16_000,
            "nb_max_frames": _PUBLISHED_SOUND_SEC * 100,
        }
        processor.write_text(json.dumps(content))
    limits = {"image": 1, "video": 1, "audio": int(case.sound_sec > 0)}
    return EngineSettings(
        model=str(checkpoint),
        base_dir=".",
        revision=None,
        on_gpu=False,
        args={
            "max_model_len": 20_000,
            "max_num_seqs": 64,
            "dtype": "bfloat16",
            "limit_mm_per_prompt": limits,
            "enforce_eager": True,
            "mm_processor_cache_gb": 0,
            "enable_prefix_caching": not case.sound_sec,
        },
        environment={
            "VLLM_LOGGING_LEVEL": "ERROR",
            "HF_HUB_OFFLINE": "1",
            # The embedded model's context is shorter than what the published one is shown.
            "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
        },
    )


async def _costs(preparer: Preparer, requests: Sequence[Request], rounds: int) -> dict[str, float]:
    for request in requests:
        await preparer.prepare(request)
    spent, waited = [], []
    for number in range(rounds):
        cpu, wall = time.process_time(), time.monotonic()
        await preparer.prepare(requests[number % len(requests)])
        spent.append(1000 * (time.process_time() - cpu))
        waited.append(1000 * (time.monotonic() - wall))
    return {"cpu_ms": statistics.median(spent), "wall_ms": statistics.median(waited)}


def _handing_ms(prepared: Any, rounds: int) -> float:
    """CPU of vLLM's encoder and of the socket to its engine's process."""
    import zmq
    from vllm.v1.serial_utils import MsgpackEncoder

    context = zmq.Context()
    ours = context.socket(zmq.PUSH)
    with tempfile.TemporaryDirectory() as folder:
        ours.bind(f"ipc://{folder}/s")
        child = os.fork()
        if not child:
            far = zmq.Context().socket(zmq.PULL)
            far.connect(f"ipc://{folder}/s")
            for _ in range(rounds):
                far.recv_multipart(copy=False)
            os._exit(0)
        began = time.process_time()
        for _ in range(rounds):
            ours.send_multipart(MsgpackEncoder().encode(prepared["mm_kwargs"]), copy=False)
        os.waitpid(child, 0)
        spent = time.process_time() - began
    ours.close()
    context.term()
    return 1000 * spent / rounds


def _prepared_bytes(prepared: Any) -> int:
    items = [item for kind in prepared["mm_kwargs"].values() for item in kind]
    found = (each.data for item in items for each in item.values())
    return sum(each.nbytes for each in found if hasattr(each, "nbytes"))


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """One case, both ways."""
    requests = [
        Request(prompt="Describe the video in detail.", clip=_clip(case, seed)) for seed in range(3)
    ]
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as loop:
        settings = _settings(case, Path(folder) / "model")
        model: Loaded = load(settings)
        pool = PreparePool(settings, model.config, processes=1)
        began = time.monotonic()
        pool.wait_until_ready()
        start_sec = time.monotonic() - began
        try:
            here = PrepareHere(model.renderer, model.prompts)
            inside = loop.run(_costs(here, requests, rounds))
            beside = loop.run(_costs(pool, requests, rounds))
            prepared = loop.run(pool.prepare(requests[0]))
        finally:
            pool.close()
    clip = requests[0].clip
    assert clip is not None
    sound = 0 if clip.audio is None else clip.audio.nbytes
    return {
        "case": " ".join(map(str, vars(case).values())),
        "decoded_mb": (clip.frames.nbytes + sound) / 1e6,
        "prepared_mb": _prepared_bytes(prepared) / 1e6,
        "inside": inside,
        "beside": beside,
        "times": inside["cpu_ms"] / beside["cpu_ms"],
        "handing_ms": _handing_ms(prepared, rounds),
        "start_sec": start_sec,
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="", help="cases whose family's name holds this")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    found = []
    for case in CASES:
        if arguments.only in case.family:
            found.append(measure(case, arguments.rounds))
            print(json.dumps(found[-1]), flush=True)
    print(json.dumps({"cases": found}))


if __name__ == "__main__":
    main()
