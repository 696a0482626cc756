"""``python -m rayjob.fuse``: captions in, training captions in Parquet out."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from rayjob import job
from rayjob.output import exports
from rayjob.prepare import Prepared, plan
from rayjob.settings import flags as options
from schemas.config import FuseConfig


def _fuse(config: FuseConfig, *, dry_run: bool, console: Console) -> int:
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
        task=prepared.recipe_type.name,
        csv=config.csv,
        jsonl=config.export_jsonl,
    )


def command(
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="WHERE",
            help="Output of a captioning job, or a CSV of SkyCaptioner (path, structural_caption). "
            "Repeatable.",
        ),
    ] = None,
    output: options.Output = None,
    config: options.ConfigFile = None,
    task: Annotated[
        str | None, typer.Option(help="t2v, i2v or long, or module:object. [t2v]")
    ] = None,
    source_recipe: Annotated[
        str | None, typer.Option(help="Name of the captioning to fuse. [what the task is made for]")
    ] = None,
    name: options.Name = None,
    replace: options.Replace = None,
    mixed: options.Mixed = None,
    model: options.Model = None,
    prompt_file: options.PromptFile = None,
    engines: options.Engines = None,
    gpus_per_engine: options.GpusPerEngine = None,
    limit: options.Limit = None,
    run_id: options.RunId = None,
    retry_failed: options.RetryFailed = None,
    retake_changed: options.RetakeChanged = None,
    max_failure_rate: options.MaxFailureRate = None,
    drop_abnormal: Annotated[
        bool | None,
        typer.Option("--drop-abnormal", help="Captions that break a rule become failures."),
    ] = None,
    csv: Annotated[
        bool | None, typer.Option("--csv", help="Write the CSV of SkyCaptioner's scripts too.")
    ] = None,
    export_jsonl: Annotated[
        bool | None,
        typer.Option("--export-jsonl", help="Write messages for instruction tuning too."),
    ] = None,
    endpoint_url: options.EndpointUrl = None,
    set_: options.Assignments = None,
    dry_run: options.DryRun = False,
) -> None:  # fmt: skip
    """Fuse captions into training captions with a text model; one row per video.

    Exit codes and summary are those of caption.
    """
    flags: dict[str, Any] = {
        "input": input,
        "output": output,
        "recipe.name": task,
        "source_recipe": source_recipe,
        "name": name,
        "replace": replace,
        "mixed": mixed,
        "engine.model": model,
        "recipe.prompt_file": prompt_file,
        "engine.engines": engines,
        "engine.gpus_per_engine": gpus_per_engine,
        "limit": limit,
        "run_id": run_id,
        "retry_failed": retry_failed,
        "retake_changed": retake_changed,
        "max_failure_rate": max_failure_rate,
        "recipe.drop_abnormal": drop_abnormal,
        "csv": csv,
        "export_jsonl": export_jsonl,
        "storage.endpoint_url": endpoint_url,
    }
    options.run_action(
        FuseConfig, _fuse, path=config, assignments=set_, flags=flags, dry_run=dry_run
    )


def main() -> None:
    """Entry point of the module."""
    typer.run(command)


if __name__ == "__main__":
    main()
