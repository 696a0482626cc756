"""The embedded model behind vLLM's own server: answers are those of an engine of the job."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.engine.chat import ChatService
from actors.engine.remote_engine import RemoteEngine, RemoteSettings
from actors.engine.vllm_engine import VllmEngine
from rayjob.capacity.pool import engine_pool
from rayjob.settings.loading import read_config
from schemas.config import GenerationConfig, JobConfig
from schemas.endpoint import EndpointConfig
from schemas.media import Clip
from schemas.recipe import Answer, Request
from schemas.structured import StructuredCaption
from tests.support import jobs
from tests.support.engines import SOUND, machines, omni_engine
from tinyworld.demo import render_clips
from tinyworld.render import render_audio, render_frames
from tinyworld.world import sample_scenes, sound_caption

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CLIPS = 6
NAME = "tiny-omni"
START_SEC = 300
PLAN = "{fps: 2.0, max_pixels: 12544}"
"""At two frames a second, which is what the model's processor takes for granted."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    size = {"size": {"shortest_edge": 6272, "longest_edge": 12800}}
    limits = {"image": 16, "video": 1, "audio": 1}
    command = [
        # What "vllm serve" starts, which asks for a distribution named vllm: the build for CPUs
        # has another name.
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(jobs.ROOT / "models" / NAME), "--served-model-name", NAME),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "bfloat16", "--max-model-len", "1024", "--max-num-seqs", "8"),
        *("--kv-cache-memory-bytes", str(64 << 20), "--enforce-eager"),
        *("--mm-processor-kwargs", json.dumps(size), "--mm-processor-cache-gb", "0"),
        *("--limit-mm-per-prompt", json.dumps(limits)),
        "--trust-request-mm-kwargs",
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with open(log, "w") as out:
        server = subprocess.Popen(command, cwd=jobs.ROOT, env=environment, stdout=out, stderr=out)
    try:
        until = time.monotonic() + START_SEC
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None and time.monotonic() < until, log.read_text()[-4000:]
            time.sleep(1.0)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(60)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def test_captions_are_those_of_an_engine_of_the_job(served: str, tmp_path: Path) -> None:
    render_clips(sample_scenes(CLIPS, seed=11), tmp_path / "in")
    command = (
        *("--config", "configs/demo-structured.yaml", "--input", tmp_path / "in"),
        *("--set", f"recipe.plan={PLAN}", "--set", "recipe.generation.temperature=0"),
    )
    elsewhere = {
        "kind": "openai",
        "model": NAME,
        "endpoint.url": served,
        "endpoint.frames": "video",
        "endpoint.picture": "png",
    }
    sets = [
        part for name, value in elsewhere.items() for part in ("--set", f"engine.{name}={value}")
    ]
    there = jobs.caption(*command, "--output", tmp_path / "there", *sets)
    assert there.code == 0, there.stderr
    here = jobs.caption(*command, "--output", tmp_path / "here")
    assert here.code == 0, here.stderr
    captions = jobs.captions(tmp_path / "here")
    assert len(captions) == CLIPS and len(set(captions.values())) > CLIPS // 2
    assert jobs.captions(tmp_path / "there") == captions
    counted = (here.summary["prompt_tokens"], here.summary["output_tokens"])
    assert (there.summary["prompt_tokens"], there.summary["output_tokens"]) == counted


def clip(*, frames: int, rate: float = 2.0, sound: bool = False) -> Clip:
    """A part of the scene."""
    seconds = max(frames, 8) / rate
    size = {"width": 112, "height": 112}
    return Clip(
        duration_sec=seconds,
        frames=render_frames(SCENE, seconds=seconds, fps=rate, **size)[:frames],
        timestamps=np.arange(frames) / rate,
        audio=render_audio(SCENE, seconds=seconds) if sound else None,
        audio_rate=16_000 if sound else 0,
    )


SCENE = next(scene for scene in sample_scenes(50, seed=7) if scene.sound == "beeps")
REQUESTS = {
    "a text": Request(prompt="Describe the clip."),
    "a system message": Request(prompt="Describe the clip.", system="You are brief."),
    "a frame": Request(prompt="Describe the picture.", clip=clip(frames=1)),
    "a video": Request(prompt="Describe what is seen.", clip=clip(frames=8)),
    "a sound": Request(prompt="Describe the sound.", clip=clip(frames=0, sound=True)),
    "JSON": Request(
        prompt="Describe the sound.",
        clip=clip(frames=8),
        json_schema=StructuredCaption.model_json_schema(),
    ),
}


@pytest.fixture(scope="module")
def here() -> Iterator[Callable[[Request], Answer]]:
    """Asks an engine of the job."""
    places = {"input": "in", "output": "out"}
    config = read_config(JobConfig, "configs/demo.yaml", flags=places)
    pool = engine_pool(omni_engine(config.engine, plan=SOUND), machines())
    with asyncio.Runner() as loop:
        engine = VllmEngine(pool.settings)
        try:
            yield lambda request: loop.run(engine.ask(request))
        finally:
            engine.close()


def asked_there(url: str, request: Request, **endpoint: Any) -> Answer:
    """What the server answers."""
    config = EndpointConfig(url=url, frames="video", picture="png", **endpoint)
    service = ChatService(url=url, model=NAME, retries=0)

    async def ask() -> Answer:
        settings = RemoteSettings(service=service, endpoint=config, max_model_len=1024)
        return await RemoteEngine(settings).ask(request)

    return asyncio.run(ask())


def greedy(request: Request) -> Request:
    return replace(request, generation=GenerationConfig(temperature=0.0, max_tokens=200))


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_are_those_of_an_engine_of_the_job(
    served: str, here: Callable[[Request], Answer], name: str
) -> None:
    request = greedy(REQUESTS[name])
    answer = asked_there(served, request)
    assert answer == here(request)
    assert answer.output_tokens >= 5
    if request.json_schema is not None:
        StructuredCaption.model_validate_json(answer.text)
    if name == "a sound":
        assert answer.text == sound_caption(SCENE.sound).removeprefix("There is no picture. ")


def test_another_rate_is_told_by_the_body(served: str, here: Callable[[Request], Answer]) -> None:
    """This model's processor takes two frames a second for granted."""
    request = greedy(Request(prompt="Describe what is seen.", clip=clip(frames=8, rate=0.5)))
    told = {"mm_processor_kwargs": {"fps": 0.5}}
    assert asked_there(served, request, body=told) == here(request)
