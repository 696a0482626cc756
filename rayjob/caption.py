"""``python -m rayjob.caption``: videos in, captions in Parquet out."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from rayjob import job
from rayjob.settings import load_config
from schemas.errors import OutputLockedError, RayjobError, UsageError

EXIT_OTHER = 1
EXIT_USAGE = 2


def command(
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="WHERE",
            help="A file, folder, glob, s3:// prefix or manifest (.csv .jsonl .parquet .txt). "
            "Repeatable.",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="WHERE", help="Folder or s3:// prefix.")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", "-c", metavar="FILE", help="YAML; flags win over it.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe by name, or module:object. [omni]")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Checkpoint folder or hub name. [the recipe's]")
    ] = None,
    prompt_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The prompt, instead of the recipe's.")
    ] = None,
    engines: Annotated[int | None, typer.Option(help="Engine replicas. [all that fit]")] = None,
    gpus_per_engine: Annotated[
        float | None, typer.Option(help="Share of a GPU per engine, or whole GPUs. [1]")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Take at most so many videos that are not done yet.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(help="Name of the run; begins with a letter. [time of start]")
    ] = None,
    retry_failed: Annotated[
        bool | None, typer.Option("--retry-failed", help="Take failed videos again.")
    ] = None,
    retake_changed: Annotated[
        bool | None,
        typer.Option("--retake-changed", help="Take videos again whose content changed."),
    ] = None,
    max_failure_rate: Annotated[
        float | None, typer.Option(help="Exit with 3 if a larger share of the videos fails. [1]")
    ] = None,
    extensions: Annotated[
        str | None, typer.Option(metavar="LIST", help="File endings to take: mp4,mkv or '*'.")
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="S3 endpoint other than AWS.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any setting by its dotted name. Repeatable."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and start nothing.")
    ] = False,
) -> None:  # fmt: skip
    """Caption videos: decode on CPU actors, caption on shared GPUs, write Parquet shards.

    Exit codes: 0 every input is accounted for, 2 usage or configuration, 3 the share of
    failures passed --max-failure-rate, 1 anything else. The last line on stdout of a
    finished run is its summary as JSON.
    """
    flags: dict[str, Any] = {
        "input": input,
        "output": output,
        "recipe.name": recipe,
        "engine.model": model,
        "recipe.prompt_file": prompt_file,
        "engine.engines": engines,
        "engine.gpus_per_engine": gpus_per_engine,
        "limit": limit,
        "run_id": run_id,
        "retry_failed": retry_failed,
        "retake_changed": retake_changed,
        "max_failure_rate": max_failure_rate,
        "source.extensions": extensions.split(",") if extensions else None,
        "storage.endpoint_url": endpoint_url,
    }
    given = {key: value for key, value in flags.items() if value is not None and value != []}
    console = Console(stderr=True)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("rayjob").setLevel(logging.INFO)
    try:
        job_config = load_config(config, assignments=set_ or (), flags=given)
        if dry_run:
            job.plan(job_config).show(Console())
            return
        code = job.run(job_config, console=console)
    except UsageError as error:
        console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_USAGE) from error
    except (OutputLockedError, RayjobError) as error:
        console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_OTHER) from error
    raise typer.Exit(code)


def main() -> None:
    """Entry point of the module."""
    typer.run(command)


if __name__ == "__main__":
    main()
