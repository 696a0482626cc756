"""What the control plane of a run costs per video: ``python -m benchmarks.driver_ceiling``.

The whole run with stages that do nothing (:mod:`benchmarks.null_stages`), so that what takes CPU
is the driver, Ray's own processes and the monitor. The last line is JSON. Seconds of CPU hardly
depend on what else the machine does; ``videos_per_sec`` does.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from rich.console import Console

from benchmarks.null_stages import PROMPT_TOKENS, NullCaptioner, NullDecoder
from rayjob.run import graph, job
from rayjob.settings.loading import read_config
from schemas.config import JobConfig

_CONTROL = {
    "raylet/raylet": "raylet",
    "gcs_server": "gcs",
    "ray::Monitor": "monitor",
    "ray::_Executor": "executor",
    "ray::_AutoscalingCoordinatorActor": "coordinator",
    "ray::_StatsActor": "stats",
    "ray::ActorLocationTracker": "stats",
}
"""Processes of the control plane beside this one, by what stands in their command line."""


class _Watch(threading.Thread):
    """CPU time of each process of the control plane, looked at every second while it lives.

    Attributes:
        spent: seconds since the start, by name and process id.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.spent: dict[str, float] = {}
        self._before: dict[str, float] | None = None
        self._over = threading.Event()
        self.look()

    def look(self) -> None:
        found = dict(_processes())
        if self._before is None:
            self._before = found
        for name, seconds in found.items():
            self.spent[name] = seconds - self._before.get(name, 0.0)

    def run(self) -> None:
        while not self._over.wait(1.0):
            self.look()

    def stop(self) -> None:
        self._over.set()
        self.join()


def _processes() -> Iterator[tuple[str, float]]:
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            command = " ".join(process.cmdline())
            times = process.cpu_times()
        except psutil.Error:
            continue
        name = next((name for part, name in _CONTROL.items() if part in command), None)
        if process == own:
            name = "driver"
        if name is not None:
            yield f"{name} {process.pid}", times.user + times.system


def measure(videos: int, engines: int, decoders: int, settings: list[str]) -> dict[str, Any]:
    """Run once; what it cost."""
    with tempfile.TemporaryDirectory() as work:
        manifest, output = Path(work) / "manifest.parquet", Path(work) / "out"
        names = [f"v{number:08d}" for number in range(videos)]
        pq.write_table(
            pa.table({"uri": [f"s3://data/{name}.mp4" for name in names], "video_id": names}),
            manifest,
        )
        config = read_config(
            JobConfig,
            "configs/demo.yaml",
            assignments=[
                f"engine.engines={engines}",
                "engine.cpus_per_engine=0.01",
                f"decode.actors={decoders}",
                "decode.cpus_per_actor=0.01",
                *settings,
            ],
            flags={"input": [str(manifest)], "output": str(output)},
        )
        watch, began = _Watch(), time.monotonic()
        watch.start()
        code = job.run(config, console=Console(quiet=True))
        wall = time.monotonic() - began
        watch.stop()
        summary = json.loads(next(output.glob("runs/*/summary.json")).read_text())
    assert code == 0 and summary["videos_captioned"] == videos
    assert summary["prompt_tokens"] == videos * PROMPT_TOKENS  # each was asked for once
    spent = watch.spent
    kinds: dict[str, float] = {}
    for name, seconds in spent.items():
        kind = name.split()[0]
        kinds[kind] = kinds.get(kind, 0.0) + seconds
    return {
        "videos": videos,
        "engines": engines,
        "decoders": decoders,
        "executors": sum(name.startswith("executor") for name in spent) or 1,
        "control_cpu_ms_per_video": 1000 * sum(spent.values()) / videos,
        "busiest_process_ms_per_video": 1000 * max(spent.values()) / videos,
        "videos_per_sec": videos / (wall - summary["startup_sec"]),
        "wall_sec": wall,
        "ms_per_video": {name: round(1000 * each / videos, 3) for name, each in kinds.items()},
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--engines", type=int, default=8)
    parser.add_argument("--decoders", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    vars(graph).update(Decoder=NullDecoder, Captioner=NullCaptioner)
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    result = measure(arguments.videos, arguments.engines, arguments.decoders, arguments.settings)
    ray.shutdown()  # what it still has to say comes before the last line
    print(json.dumps(result))


if __name__ == "__main__":
    main()
