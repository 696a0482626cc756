"""``python -m rayjob.fuse``: captions in, training captions in Parquet out."""

from __future__ import annotations

import typer
from rich.console import Console

from rayjob import job
from rayjob.output import exports
from rayjob.prepare import Prepared, plan
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
    return job.run(config, console=console, finish=export)


def export(prepared: Prepared) -> None:
    """Write the files for others' tools that a fusion's configuration asks for."""
    config = prepared.config
    assert isinstance(config, FuseConfig)
    exports.write(
        prepared.store,
        prepared.tables,
        name=prepared.name,
        task=prepared.recipe.name,
        csv=config.csv,
        jsonl=config.export_jsonl,
    )


if __name__ == "__main__":
    typer.run(command)
