"""Where the seconds go from the command to the first caption: ``python -m benchmarks.startup``.

Runs the job on a few clips with the embedded model and looks at its processes from outside. The
last line is JSON with the seconds of each phase, one after the other:

- ``driver``: Python, imports, settings, what is checked before anything starts;
- ``ray``: a local Ray, until it has a process for the engine's actor;
- ``engine_import``: the actor imports vLLM, reads the model's configuration and rehearses;
- ``engine_process``: vLLM's process for the model imports vLLM once more and loads it; then the
  first request;

and ``first_sec``, all of them, and ``exit``, from the last caption to the end of the command.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import psutil
import pyarrow.compute as pc
import pyarrow.dataset as ds

from benchmarks.speed_of_light import render

_LOOK_SEC = 0.2
_SIGNS = {
    "driver": "gcs_server",
    "ray": "MapBatches(Captioner)",
    "engine_import": "multiprocessing.spawn",
}
"""What the command line of a process has that begins when the phase ends."""


def phases(folder: Path, output: Path, config: str) -> dict[str, float]:
    """Run the job once; seconds by phase. Raises CalledProcessError where it fails."""
    command = [
        *(sys.executable, "-m", "rayjob.caption", "--config", config),
        *("--input", str(folder), "--output", str(output)),
    ]
    began = time.time()
    ends: dict[str, float] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as job:
        while job.poll() is None:
            for line in _command_lines(job.pid):
                for phase, sign in _SIGNS.items():
                    if phase not in ends and sign in line:
                        ends[phase] = time.time()
            if len(ends) == len(_SIGNS):
                break
            time.sleep(_LOOK_SEC)
        job.communicate()
    ended = time.time()
    if job.returncode:
        raise subprocess.CalledProcessError(job.returncode, command)
    made = ds.dataset(output / "captions", format="parquet").to_table(["created_at"])["created_at"]
    first, last = (each.as_py().timestamp() for each in (pc.min(made), pc.max(made)))
    marks = [began, *(ends[phase] for phase in _SIGNS), first]
    names = [*_SIGNS, "engine_process"]
    spent = {name: end - begin for name, (begin, end) in zip(names, pairwise(marks), strict=True)}
    return spent | {"first_sec": first - began, "exit": ended - last}


def _command_lines(pid: int) -> Iterator[str]:
    """Of all processes below one; those that end meanwhile are left out."""
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for process in below:
        with contextlib.suppress(psutil.Error):
            yield " ".join(process.cmdline())


def main() -> None:
    """Run it some times; print each, then one line of JSON with the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--config", default="configs/demo.yaml")
    arguments = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as work:
        render(Path(work) / "clips", arguments.clips)
        for number in range(arguments.rounds):
            output = Path(work) / f"out-{number}"
            rounds.append(phases(Path(work) / "clips", output, arguments.config))
            print(json.dumps(rounds[-1]), flush=True)
    print(json.dumps({name: median(each[name] for each in rounds) for name in rounds[0]}))


if __name__ == "__main__":
    main()
