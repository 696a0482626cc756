"""``python -m rayjob.caption``: videos in, captions in Parquet out."""

from __future__ import annotations

import typer
from rich.console import Console

from rayjob.run import job
from rayjob.run.prepare import plan
from rayjob.settings.flags import DryRun, settings_command
from schemas.config import JobConfig


@settings_command(JobConfig)
def command(config: JobConfig, console: Console, *, dry_run: DryRun = False) -> int:
    """Caption videos: decode on CPU actors, caption on shared GPUs, write Parquet shards.

    Exit codes: 0 every input is accounted for, 2 usage or configuration, 3 the share of
    failures passed --max-failure-rate, 1 anything else. The last line on stdout of a
    finished run is its summary as JSON.
    """
    if dry_run:
        plan(config).show(Console())
        return 0
    return job.run(config, console=console)


if __name__ == "__main__":
    typer.run(command)
