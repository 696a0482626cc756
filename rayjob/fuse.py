"""``python -m rayjob.fuse``: captions in, training captions in Parquet out."""

from __future__ import annotations

import typer
from rich.console import Console

from rayjob import job
from rayjob.exporting import conversations, spreadsheet
from rayjob.exporting.selection import Selection
from rayjob.prepare import Prepared, plan
from rayjob.reporting.reading import list_parts
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
    """Write the files for others' tools that a fusion's configuration asks for: all valid captions
    of its name, of earlier runs too, in ``exports/``.
    """
    config, store, name = prepared.config, prepared.store, prepared.name
    assert isinstance(config, FuseConfig)
    if not (config.csv or config.export_jsonl):
        return
    parts = tuple(part for part in list_parts(store, "fused") if part.recipe == name)
    chosen = Selection(store=store, name=name, parts=parts)
    if config.csv:
        column = spreadsheet.column_of(prepared.recipe.name, fused=True)
        lines = spreadsheet.lines(chosen.batches(), chosen.batches(), column)
        store.write_lines(f"exports/{name}_fusion_caption.csv", lines)
    if config.export_jsonl:
        store.write_lines(f"exports/{name}.jsonl", conversations.lines(chosen.batches()))


if __name__ == "__main__":
    typer.run(command)
