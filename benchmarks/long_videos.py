"""Long videos: a full engine in spite of chains, and memory that an hour does not fill.

``python -m benchmarks.long_videos [--part occupancy] [--part hour]``; both without a flag.

- *occupancy*: 16 videos of 60 to 180 s through the job. The mean number of requests in
  the engine, and captions per second over those of the engine alone on the same requests,
  all in flight at once: prompts hold the captions that the job wrote, so that nothing waits.
- *hour*: one video of an hour as the published configuration samples it (1 frame a second,
  448 x 448, windows of 10 s every 5 s). Peak memory of each process, and of the engine beside
  the same job on short clips; see :mod:`benchmarks.process_memory`.

Absolute times mean nothing away from the machine they were measured on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import pyarrow.dataset as ds

from actors.decoding.decoder import decode
from actors.engine.vllm_engine import VllmEngine
from actors.storage.access import open_range
from benchmarks import process_memory
from rayjob.capacity import cluster
from rayjob.run.prepare import Prepared, prepare
from rayjob.settings.loading import read_config
from schemas.config import JobConfig
from schemas.recipe import Answer, Request, Video
from tinyworld.render import write_video
from tinyworld.world import sample_scenes

PARTS = ("occupancy", "hour")
PUBLISHED = (
    "recipe.plan.fps=1",
    "recipe.plan.max_pixels=200704",
    "recipe.options.window_sec=10",
    "recipe.options.stride_sec=5",
    "decode.limits.wall_seconds=3600",
)


def _render(path: Path, seconds: float, *, seed: int, fps: float, side: int) -> None:
    """A video in which something else is to be seen every 4 to 8 seconds."""
    rng = random.Random(seed)
    pieces, left = [], seconds
    for scene in sample_scenes(round(seconds), seed=seed):
        length = min(left, rng.choice((4.0, 6.0, 8.0)))
        pieces.append((scene, length))
        left -= length
        if not left:
            break
    write_video(path, pieces, fps=fps, width=side, height=side, audio=False)


def _repeat(minute: Path, path: Path, times: int) -> None:
    """Copy a video's packets several times, one after the other, without encoding anew."""
    with av.open(str(path), "w") as target:
        output = None
        for number in range(times):
            with av.open(str(minute)) as source:
                stream = source.streams.video[0]
                if output is None:
                    output = target.add_stream_from_template(stream)
                assert stream.duration is not None
                for packet in source.demux(stream):
                    if packet.dts is not None:
                        _mux(target, output, packet, shift=number * stream.duration)


def _mux(target: Any, output: Any, packet: Any, *, shift: int) -> None:
    packet.dts += shift
    packet.pts += shift
    packet.stream = output
    target.mux(packet)


def _command(config: str, folder: Path, output: Path, settings: tuple[str, ...]) -> list[str]:
    command = [
        sys.executable, "-m", "rayjob.caption", "--config", config,
        "--input", str(folder), "--output", str(output),
    ]  # fmt: skip
    for setting in settings:
        command += ["--set", setting]
    return command


def _last_line(out: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return document


# ---- occupancy


def occupancy(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The job, and the engine alone on what the job asked it."""
    folder, output = work / "videos", work / "out"
    folder.mkdir()
    rng = random.Random(4)
    for number in range(arguments.videos):
        seconds = float(rng.randrange(60, 181, 6))
        _render(folder / f"{number:02d}.mp4", seconds, seed=number, fps=4, side=112)
    command = _command(arguments.config, folder, output, ())
    summary = _last_line(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    # In a process of its own, so that the engine alone inherits nothing.
    command = [
        sys.executable, "-m", "benchmarks.long_videos", "--config", arguments.config,
        "--replay", str(folder), str(output),
    ]  # fmt: skip
    alone = _last_line(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    rate = summary["captions"] / (summary["wall_sec"] - summary["startup_sec"])
    return {
        "videos": summary["videos_captioned"],
        "video_sec": summary["video_hours_per_hour"] * summary["wall_sec"],
        "captions": summary["captions"],
        "mean_running": summary["engine_mean_running"],
        "busy_fraction": summary["engine_busy_fraction"],
        "captions_per_sec": rate,
        "engine_alone": alone,
        "over_engine_alone": rate / alone["captions_per_sec"],
    }


@dataclass
class Recorder:
    """Answers as the job did, and records the requests.

    Attributes:
        told: the captions of a video's windows, in their order.
    """

    told: list[str]
    max_model_len: int = 1 << 30
    requests: list[Request] = field(default_factory=list)
    _windows: int = 0

    async def ask(self, request: Request) -> Answer:
        self.requests.append(request)
        assert request.clip is not None
        text = "A picture."
        if request.clip.num_frames > 1:
            text = self.told[self._windows]
            self._windows += 1
        return Answer(text=text, finish_reason="stop", prompt_tokens=0, output_tokens=0)

    async def count_tokens(self, texts: Any) -> list[int]:
        return [len(text) for text in texts]


async def _recorded(prepared: Prepared, folder: Path, output: Path) -> list[Request]:
    rows = ds.dataset(output / "captions", partitioning="hive").to_table().to_pylist()
    rows = [row for row in rows if row["level"] == "clip"]
    plan = prepared.recipe.plan
    config = read_config(JobConfig, flags={"input": ["-"], "output": "-"})
    assert plan is not None
    requests: list[Request] = []
    for path in sorted(folder.iterdir()):
        with open_range(str(path), config.storage) as source:
            clip = decode(source, plan, config.decode.limits)
        mine = sorted((row for row in rows if row["video_id"] == path.name), key=_index)
        recorder = Recorder([row["caption"] for row in mine])
        video = Video(video_id=path.name, uri=str(path), metadata=None, decoded=clip)
        await prepared.recipe.caption(video, recorder)
        requests += recorder.requests
    return requests


def _index(row: dict[str, Any]) -> int:
    return int(row["index"])


async def replay(config_file: str, folder: Path, output: Path) -> dict[str, float]:
    """Captions per second of the engine alone, with all requests in flight at once."""
    # The captions are given: none is asked for a second time.
    flags = {"input": [str(folder)], "output": str(output), "recipe.max_attempts": 1}
    prepared = prepare(read_config(JobConfig, config_file, flags=flags))
    requests = await _recorded(prepared, folder, output)
    engine = prepared.engines(cluster.peek()).settings.start()
    assert isinstance(engine, VllmEngine)
    await asyncio.gather(*map(engine.ask, requests[:64]))
    started = time.perf_counter()
    await asyncio.gather(*map(engine.ask, requests))
    wall = time.perf_counter() - started
    engine.close()
    return {"requests": len(requests), "captions_per_sec": len(requests) / wall}


# ---- an hour


def hour(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Memory of the job on one long video, and on short clips."""
    minute, side = work / "minute.mp4", 448
    _render(minute, 60.0, seed=1, fps=arguments.fps, side=side)
    (work / "hour").mkdir()
    _repeat(minute, work / "hour" / "hour.mp4", arguments.minutes)
    (work / "short").mkdir()
    for number in range(arguments.short_clips):
        path = work / "short" / f"{number:02d}.mp4"
        _render(path, 15.0, seed=number, fps=arguments.fps, side=side)
    found: dict[str, Any] = {}
    for name in ("short", "hour"):
        command = _command(arguments.config, work / name, work / f"out-{name}", PUBLISHED)
        out, peaks = process_memory.run(command)
        summary = _last_line(out)
        found[name] = {
            "video_sec": summary["video_hours_per_hour"] * summary["wall_sec"],
            "captions": summary["captions"],
            "failures_by_error": summary["failures_by_error"],
            "wall_sec": summary["wall_sec"],
            "mean_running": summary["engine_mean_running"],
            "peak_private_mb": peaks.private,
            "peak_resident_mb": peaks.resident,
            "object_store_mb": peaks.store,
        }
    engines = [found[name]["peak_private_mb"]["engine"] for name in ("hour", "short")]
    return found | {"engine_over_short_clips": engines[0] / engines[1]}


def main() -> None:
    """Run the chosen parts and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--config", default="configs/demo-clips.yaml")
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--minutes", type=int, default=60, help="length of the long video")
    parser.add_argument("--short-clips", type=int, default=24)
    parser.add_argument("--fps", type=float, default=12, help="of the long video's file")
    parser.add_argument("--replay", nargs=2, type=Path, metavar=("VIDEOS", "OUTPUT"))
    arguments = parser.parse_args()
    if arguments.replay:
        print(json.dumps(asyncio.run(replay(arguments.config, *arguments.replay))))
        return
    measured: dict[str, Any] = {}
    for part in arguments.part or PARTS:
        with tempfile.TemporaryDirectory() as work:
            does = {"occupancy": occupancy, "hour": hour}[part]
            measured[part] = does(Path(work), arguments)
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
