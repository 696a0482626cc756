"""The job beside other ways to caption the same clips: ``python -m benchmarks.peers``.

The same clips, model and vLLM arguments, the picture alone, through

- ``job``: ``python -m rayjob.caption``;
- ``ray_data_llm``: Ray Data's own processor for vLLM, clips decoded in a map before it;
- ``vllm_serve``: ``vllm serve``, which reads the clips itself, and a client that keeps as many
  requests in flight as the job's engine does;
- ``published``: decode one, generate one, as the published scripts do.

Each runs once a round, in an order that moves on; ratios are of one round, and the median of the
rounds is told. *whole*: captions a second from the command to its end. *steady*: of the captions
beyond eight, over the seconds that they take longer than a run of eight does, which costs each way
its start and its end; take many. *first*: seconds from the command to the first caption of those
eight. At last each runs once with a file that is not a video and one of five minutes among the
clips. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.speed_of_light import render
from tinyworld.render import write_video
from tinyworld.world import sample_scenes

JOB = "job"
OTHERS = ("ray_data_llm", "vllm_serve", "published")
_SLOW_SEC = 300.0
_LONGEST_SEC = 900.0
_FEW = 8


def run_way(way: str, folder: Path) -> dict[str, Any]:
    """Run one in a process of its own.

    Returns:
        ``finished``, ``captions``, ``whole_sec``, ``first_sec`` and the mean of ``prompt_tokens``.
    """
    command = [sys.executable, "-m", f"benchmarks.peers.{way}", "--folder", str(folder)]
    began, clock = time.time(), time.monotonic()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=_LONGEST_SEC)
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess(command, returncode=-1, stdout="")
    took = time.monotonic() - clock
    log: dict[str, list[float]] = {"times": [], "prompt_tokens": []}
    if not done.returncode:
        log = json.loads(done.stdout.strip().splitlines()[-1])
    times, tokens = log["times"], log["prompt_tokens"]
    return {
        "finished": not done.returncode,
        "captions": len(times),
        "whole_sec": took,
        "first_sec": min(times) - began if times else None,
        "prompt_tokens": mean(tokens) if tokens else None,
    }


@dataclass(frozen=True)
class Rates:
    """Of one way in one round, in captions a second."""

    steady: float
    whole: float
    first_sec: float

    @classmethod
    def of(cls, few: dict[str, Any], many: dict[str, Any]) -> Rates:
        """From a run of few clips and one of many, as of :func:`run_way`."""
        more_sec = many["whole_sec"] - few["whole_sec"]
        return cls(
            steady=(many["captions"] - few["captions"]) / more_sec if more_sec > 0 else math.inf,
            whole=many["captions"] / many["whole_sec"],
            first_sec=few["first_sec"],
        )


def compared(rounds: Sequence[dict[str, Rates]]) -> dict[str, Any]:
    """The job over each other way that ran in the same rounds: medians of ratios."""
    told: dict[str, Any] = {}
    for way in rounds[0]:
        told[f"first_sec_{way}"] = median(each[way].first_sec for each in rounds)
        if way != JOB:
            told[f"job_over_{way}"] = {
                "steady": median(each[JOB].steady / each[way].steady for each in rounds),
                "whole": median(each[JOB].whole / each[way].whole for each in rounds),
            }
    return told


def spoil(folder: Path) -> None:
    """Add a file that is not a video, and a slow one, in the midst of the clips."""
    middle = sorted(folder.iterdir())[len(list(folder.iterdir())) // 2].stem
    (folder / f"{middle}-poison.mp4").write_bytes(b"\0" * 100_000)
    (scene,) = sample_scenes(1, seed=6)
    write_video(folder / f"{middle}-slow.mp4", [(scene, _SLOW_SEC)], width=640, height=480)


def main() -> None:
    """Run all ways; print what each did, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=OTHERS, default=OTHERS)
    parser.add_argument("--without-bad", action="store_true", help="no clips that are bad")
    arguments = parser.parse_args()
    ways, rounds = [JOB, *arguments.ways], []
    with tempfile.TemporaryDirectory() as work:
        folder, few = Path(work) / "clips", Path(work) / "few"
        render(few, _FEW)
        render(folder, arguments.clips)
        for number in range(arguments.rounds):
            first = number % len(ways)
            order = [*ways[first:], *ways[:first]]
            rounds.append({way: Rates.of(_told(way, few), _told(way, folder)) for way in order})
        bad = {}
        if not arguments.without_bad:
            spoil(folder)
            bad = {way: _told(way, folder, of=arguments.clips + 2) for way in ways}
    print(json.dumps({"clips": arguments.clips, **compared(rounds), "with_bad_clips": bad}))


def _told(way: str, folder: Path, *, of: int | None = None) -> dict[str, Any]:
    """Run a way and say what came."""
    found = run_way(way, folder)
    lost = {} if of is None else {"captions_missing": of - found["captions"]}
    print(json.dumps({"way": way, **found, **lost}), flush=True)
    return found | lost


if __name__ == "__main__":
    main()
