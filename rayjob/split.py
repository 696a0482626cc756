"""``python -m rayjob.split``: videos in, their segments in Parquet out."""

from __future__ import annotations

import typer
from rich.console import Console

from rayjob.run import job
from rayjob.settings.flags import settings_command
from schemas.splitting import SplitConfig


@settings_command(SplitConfig)
def command(config: SplitConfig, console: Console) -> int:
    """Split videos into segments at their cuts, and tell which are worth captioning and why.

    Nothing is cut out: a segment is a place in a file, and `rayjob caption --input OUT/segments`
    captions those that are kept. Exit codes and summary are those of caption.
    """
    return job.run(config, console=console)


if __name__ == "__main__":
    typer.run(command)
