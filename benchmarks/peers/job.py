"""This job, as a user runs it."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.dataset as ds

from benchmarks.peers.common import CONFIG, JOB_SETTINGS, Log


def main() -> None:
    """Caption the clips of ``--folder``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    folder, log = parser.parse_args().folder, Log()
    with tempfile.TemporaryDirectory() as output:
        command = [
            *(sys.executable, "-m", "rayjob.caption", "--config", CONFIG),
            *("--input", folder, "--output", output, "--max-failure-rate", "1"),
            *(part for each in JOB_SETTINGS for part in ("--set", each)),
        ]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        captions = ds.dataset(Path(output) / "captions", format="parquet", partitioning="hive")
        for row in captions.to_table(["created_at", "prompt_tokens"]).to_pylist():
            log.add(row["prompt_tokens"], at=row["created_at"].timestamp())
    log.tell()


if __name__ == "__main__":
    main()
