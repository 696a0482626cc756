"""Jobs that are submitted to a cluster of the tests, and the clips that they caption."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import jobs
from tests.support.ray_nodes import RayCluster
from tests.support.services import new_bucket
from tinyworld.render import write_video
from tinyworld.s3 import S3Gateway
from tinyworld.world import sample_scenes

IN_FLIGHT = 5
GPUS_PER_ENGINE = 0.5


def submit(cluster: RayCluster, *arguments: str, working_dir: str = "") -> subprocess.Popen[str]:
    """Start `rayjob submit`; an empty working directory sends nothing."""
    command = [sys.executable, "-m", "rayjob.submit", "--address", cluster.dashboard]
    command += ["--working-dir", working_dir, *arguments]
    return subprocess.Popen(
        command, cwd=jobs.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until(condition: Callable[[], bool], process: subprocess.Popen[Any], what: str) -> None:
    """Wait for what happens while a process runs."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.5)


def upload(gateway: S3Gateway, folder: Path, names: list[str]) -> str:
    """Clips under `in/` of a new bucket; returns its URL."""
    bucket = new_bucket(gateway.client())
    for name, scene in zip(names, sample_scenes(len(names), seed=91), strict=True):
        write_video(folder / name, [(scene, 2.0)])
        gateway.client().upload_file(str(folder / name), bucket, f"in/{name}")
    return f"s3://{bucket}"


def held_job(bucket: str, *options: str) -> list[str]:
    """What to submit: captions of :func:`upload`'s clips, by `tests.support.recipes.Held`."""
    return [
        "--", "python", "-m", "rayjob.caption", *jobs.DEMO,
        "--input", f"{bucket}/in", "--output", f"{bucket}/out",
        "--recipe", "tests.support.recipes:Held", "--run-id", "rehearsal",
        "--gpus-per-engine", f"{GPUS_PER_ENGINE}", "--set", f"engine.videos_in_flight={IN_FLIGHT}",
        *options,
    ]  # fmt: skip


def summary_in(stdout: str) -> dict[str, Any]:
    """The summary in the output of a job; other lines may come after it."""
    line = next(line for line in stdout.splitlines() if line.startswith("{") and '"run_id"' in line)
    summary: dict[str, Any] = json.loads(line)
    return summary
