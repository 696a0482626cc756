"""``python -m rayjob.evaluate``: how good captions are, with intervals and comparisons."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from rayjob.evaluation import run as evaluation
from rayjob.evaluation.config import load_config
from rayjob.settings.flags import errors_told


def command(
    input: Annotated[
        str | None,
        typer.Option(
            "--input", "-i", metavar="WHERE",
            help="An output of rayjob caption or fuse, a folder of Parquet files, or a .csv, "
            ".jsonl or .parquet file with an id and a text column; local or s3://.",
        ),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="basic, ugc, structured or long. [basic]")
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Two run ids of --input, or two inputs."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Reference captions (ugc, long) or labelled structures (structured): .csv, "
            ".jsonl or .parquet with video_id.",
        ),
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="The labels' column. [found]")] = None,
    questions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Questions for suite ugc: video_id, question, answer, type (audio, visual, "
            "joint), perhaps options and question_id.",
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", "-c", metavar="FILE", help="YAML; flags win over it.")
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(metavar="WHERE", help="Output whose scores/ takes them. [the input]"),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Only this recipe or fusion task.")] = None,
    run_id: Annotated[str | None, typer.Option(help="Only this run.")] = None,
    level: Annotated[str | None, typer.Option(help="video, clip or frame. [video]")] = None,
    limit: Annotated[int | None, typer.Option(help="Take the first so many videos by id.")] = None,
    id_column: Annotated[str | None, typer.Option(help="The input's id column. [found]")] = None,
    text_column: Annotated[
        str | None, typer.Option(help="The input's text column. [found]")
    ] = None,
    judge_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="OpenAI-compatible API, such as http://host:8000/v1."),
    ] = None,
    judge_model: Annotated[
        str | None,
        typer.Option(help="The judge's model there. Without --judge-url: its stored scores only."),
    ] = None,
    judge_engine: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Judge with a local model on this cluster.")
    ] = None,
    judge_key_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="File that holds the API key.")
    ] = None,
    judge_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Variable that holds the API key.")
    ] = None,
    judge_concurrency: Annotated[
        int | None, typer.Option(help="Questions in flight. [16]")
    ] = None,
    judge_rpm: Annotated[float | None, typer.Option(help="Requests per minute. [no limit]")] = None,
    judge_retries: Annotated[int | None, typer.Option(help="Tries after the first. [4]")] = None,
    judge_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Wall time of one try. [120]")
    ] = None,
    judge_temperature: Annotated[
        float | None, typer.Option(help="Instead of the suite's (ugc 1, else 0).")
    ] = None,
    buckets: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Edges in seconds. [300,600,900,1200,1800]"),
    ] = None,
    max_unscored_rate: Annotated[
        float | None, typer.Option(help="Exit with 3 if more of the judge's scores miss. [0.1]")
    ] = None,
    resamples: Annotated[int | None, typer.Option(help="Of the bootstrap. [2000]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the bootstrap. [0]")] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="S3 endpoint other than AWS.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE",
            help="Any other setting, such as engine.max_model_len=4096. Repeatable.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Evaluate captions: basic statistics, judged suites, accuracy against labels.

    Exit codes: 0 done, 2 usage, 3 the share of unscored passed --max-unscored-rate, 1
    anything else. The last line on stdout is one line of JSON with all figures.
    """
    flags: dict[str, Any] = {
        "input": input,
        "suite": suite,
        "compare": compare,
        "labels": labels,
        "label_column": label_column,
        "questions": questions,
        "scores": scores,
        "selection.recipe": recipe,
        "selection.run_id": run_id,
        "selection.level": level,
        "selection.limit": limit,
        "selection.id_column": id_column,
        "selection.text_column": text_column,
        "judge.url": judge_url,
        "judge.model": judge_model,
        "judge.engine": judge_engine,
        "judge.key_file": judge_key_file,
        "judge.key_env": judge_key_env,
        "judge.concurrency": judge_concurrency,
        "judge.requests_per_minute": judge_rpm,
        "judge.retries": judge_retries,
        "judge.timeout_sec": judge_timeout,
        "judge.temperature": judge_temperature,
        "buckets": buckets.split(",") if buckets else None,
        "max_unscored_rate": max_unscored_rate,
        "resamples": resamples,
        "seed": seed,
        "storage.endpoint_url": endpoint_url,
    }
    console = Console(stderr=True)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    with errors_told(console):
        settings = load_config(config, assignments=set_ or (), flags=flags)
        code = evaluation.run(settings, console=console)
    raise typer.Exit(code)


def main() -> None:
    """Entry point of the module."""
    typer.run(command)


if __name__ == "__main__":
    main()
