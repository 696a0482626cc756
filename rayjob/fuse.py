"""``python -m rayjob.fuse``: captions in, training captions in Parquet out."""

from __future__ import annotations

import typer
from rich.console import Console

from rayjob.run import job
from rayjob.run.prepare import plan
from rayjob.settings.flags import DryRun, settings_command
from schemas.config import FuseConfig


@settings_command(FuseConfig)
def command(config: FuseConfig, console: Console, *, dry_run: DryRun = False) -> int:
    """Fuse captions into training captions with a text model; one row per video.

    Exit codes and summary are those of caption.
    """
    if dry_run:
        plan(config).show(Console())
        return 0
    return job.run(config, console=console)


if __name__ == "__main__":
    typer.run(command)
