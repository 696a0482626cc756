"""The options that commands share, and how a command begins and ends."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, NoReturn, Protocol, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from rayjob.settings.loading import read_config
from schemas.config import JobConfig, RunConfig
from schemas.errors import RayjobError, UsageError

EXIT_OTHER = 1
EXIT_USAGE = 2


Output = Annotated[
    str | None, typer.Option("--output", "-o", metavar="WHERE", help="Folder or s3:// prefix.")
]
ConfigFile = Annotated[
    str | None, typer.Option("--config", "-c", metavar="FILE", help="YAML; flags win over it.")
]
Model = Annotated[str | None, typer.Option(help="Checkpoint folder or hub name. [the recipe's]")]
PromptFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="The prompt, instead of the recipe's.")
]
Engines = Annotated[int | None, typer.Option(help="Engine replicas. [all that fit]")]
GpusPerEngine = Annotated[
    float | None, typer.Option(help="Share of a GPU per engine, or whole GPUs. [1]")
]
Name = Annotated[
    str | None,
    typer.Option(help="Name of the captioning, for several side by side. [the recipe's]"),
]
Replace = Annotated[
    bool | None,
    typer.Option("--replace", help="Do videos again that were done with other settings."),
]
Mixed = Annotated[
    bool | None,
    typer.Option("--mixed", help="Go on beside videos that were done with other settings."),
]
Limit = Annotated[
    int | None, typer.Option(help="Take at most so many videos that are not done yet.")
]
RunId = Annotated[
    str | None, typer.Option(help="Name of the run; begins with a letter. [time of start]")
]
RetryFailed = Annotated[
    bool | None, typer.Option("--retry-failed", help="Take failed videos again.")
]
RetakeChanged = Annotated[
    bool | None,
    typer.Option(
        "--retake-changed/--leave-changed",
        help="Take videos again whose content changed. [leave; nightly: retake]",
    ),
]
MaxFailureRate = Annotated[
    float | None, typer.Option(help="Exit with 3 if a larger share of the videos fails. [1]")
]
EndpointUrl = Annotated[str | None, typer.Option(metavar="URL", help="S3 endpoint other than AWS.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting by its dotted name. Repeatable."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and start nothing.")]

_Config = TypeVar("_Config", bound=RunConfig)
_Given = TypeVar("_Given", bound=RunConfig, contravariant=True)


class Action(Protocol[_Given]):
    """What a command does with its configuration; returns its exit code."""

    def __call__(self, config: _Given, *, dry_run: bool, console: Console) -> int:
        """Do it. Errors of this project may pass; ``console`` writes to stderr."""
        ...


def job_command(action: Action[JobConfig], *, help: str) -> Callable[..., None]:
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
        output: Output = None,
        config: ConfigFile = None,
        recipe: Annotated[
            str | None, typer.Option(help="Recipe by name, or module:object. [omni]")
        ] = None,
        name: Name = None,
        replace: Replace = None,
        mixed: Mixed = None,
        model: Model = None,
        prompt_file: PromptFile = None,
        engines: Engines = None,
        gpus_per_engine: GpusPerEngine = None,
        limit: Limit = None,
        run_id: RunId = None,
        retry_failed: RetryFailed = None,
        retake_changed: RetakeChanged = None,
        max_failure_rate: MaxFailureRate = None,
        extensions: Annotated[
            str | None, typer.Option(metavar="LIST", help="File endings to take: mp4,mkv or '*'.")
        ] = None,
        endpoint_url: EndpointUrl = None,
        set_: Assignments = None,
        dry_run: DryRun = False,
    ) -> None:  # fmt: skip
        flags: dict[str, Any] = {
            "input": input,
            "output": output,
            "recipe.name": recipe,
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
            "source.extensions": _words(extensions) if extensions else None,
            "storage.endpoint_url": endpoint_url,
        }
        run_action(JobConfig, action, path=config, assignments=set_, flags=flags, dry_run=dry_run)

    command.__doc__ = help
    return command


def run_action(
    kind: type[_Config],
    action: Action[_Config],
    *,
    path: str | None,
    assignments: list[str] | None,
    flags: Mapping[str, Any],
    dry_run: bool,
) -> NoReturn:
    """Read the configuration, act, and end the process as commands of this project do.

    Args:
        flags: dotted key -> value; None and empty lists were not given.
    """
    given = {key: value for key, value in flags.items() if value is not None and value != []}
    console = Console(stderr=True)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("rayjob").setLevel(logging.INFO)
    with errors_told(console):
        config = read_config(kind, path, assignments=assignments or (), flags=given)
        code = action(config, dry_run=dry_run, console=console)
    raise typer.Exit(code)


@contextlib.contextmanager
def errors_told(console: Console) -> Iterator[None]:
    """End the process with 2 or 1 and a line for a person where a RayjobError comes up."""
    try:
        yield
    except RayjobError as error:
        show_error(console, error)
        code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_OTHER
        raise typer.Exit(code) from error


def show_error(console: Console, error: RayjobError) -> None:
    """Tell a person."""
    console.print(Text.assemble(("error: ", "red"), str(error)), soft_wrap=True)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
