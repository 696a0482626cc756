"""The options that ``caption`` and ``nightly`` share, and how such a command ends."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console

from rayjob.settings import load_config
from schemas.config import JobConfig
from schemas.errors import RayjobError, UsageError

EXIT_OTHER = 1
EXIT_USAGE = 2


class Action(Protocol):
    """What a command does with its configuration; returns its exit code."""

    def __call__(self, config: JobConfig, *, dry_run: bool, console: Console) -> int:
        """Do it. Errors of this project may pass; ``console`` writes to stderr."""
        ...


def job_command(action: Action, *, help: str) -> Callable[..., None]:
    """A command with all options of a captioning job.

    Args:
        help: what ``--help`` says about it.
    """

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
            str | None,
            typer.Option("--output", "-o", metavar="WHERE", help="Folder or s3:// prefix."),
        ] = None,
        config: Annotated[
            str | None,
            typer.Option("--config", "-c", metavar="FILE", help="YAML; flags win over it."),
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
            typer.Option(
                "--retake-changed/--leave-changed",
                help="Take videos again whose content changed. [leave; nightly: retake]",
            ),
        ] = None,
        max_failure_rate: Annotated[
            float | None,
            typer.Option(help="Exit with 3 if a larger share of the videos fails. [1]"),
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
            code = action(job_config, dry_run=dry_run, console=console)
        except RayjobError as error:
            show_error(console, error)
            code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_OTHER
            raise typer.Exit(code) from error
        raise typer.Exit(code)

    command.__doc__ = help
    return command


def show_error(console: Console, error: RayjobError) -> None:
    """Tell a person."""
    console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
