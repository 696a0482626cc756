"""``rayjob plan``: what fits which GPU, what it costs, and whether a cluster can hold a job."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Table

from actors.storage.access import read_whole
from rayjob.capacity.cluster_file import read_cluster
from rayjob.capacity.engine_spec import EngineSpec, recipe_engine
from rayjob.capacity.model_shapes import published_models
from rayjob.capacity.placement import (
    Engines,
    check_places,
    engines_asked,
    gpu_types,
    runs_on_gpu,
)
from rayjob.capacity.sizing import GB, Fit, best, check_memory, fits_of, known_gpu_gb, shape_for
from rayjob.counts import counted
from rayjob.output.summary import RunSummary
from rayjob.recipes import find_recipe
from rayjob.settings.flags import settings_command
from schemas.config import JobConfig, ModelJob
from schemas.errors import ConfigError, OpenError

_GPU_SIZES = (24.0, 40.0, 80.0, 141.0)
_WIDTH = 160
_COLUMNS = (
    "model", "GPU (GB)", "GPUs/engine", "weights", "runtime", "KV cache", "KV/sequence",
    "sequences/engine", "engines/GPU", "sequences/GPU", "",
)  # fmt: skip
"""Sizes are GB per GPU."""


@settings_command(
    ModelJob,
    flags=(
        "engine.gpus_per_engine",
        "engine.max_model_len",
        "engine.max_num_seqs",
        "price_per_gpu_hour",
    ),
)
def command(
    job: JobConfig,
    console: Console,
    *,
    context: typer.Context,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Checkpoint folder or hub name. Repeatable. \\[default: the job's, "
                     "without a job the published four]"),
    ] = None,
    gpu_memory_gb: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="GPU sizes in GB. \\[default: the job's or the "
                     "cluster's, else 24,40,80,141]"),
    ] = None,
    best_only: Annotated[
        bool, typer.Option("--best", help="Only the choice for each model and GPU.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="A table for a document.")] = False,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Cluster file of 'ray up': can it hold the job?"),
    ] = None,
    videos_per_sec: Annotated[
        float | None, typer.Option(help="Measured rate of one GPU, for the cost.")
    ] = None,
    summary: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="summary.json of a run: its rate, for the cost."),
    ] = None,
) -> int:  # fmt: skip
    """Size engines: weights, KV cache, sequences in flight, engines per GPU, and the best choice.

    Reads the model's configuration and the headers of its weights, nothing else; needs no
    GPU. Exit codes: 0, or 2 where a setting is wrong or the cluster cannot hold the job.
    """
    spec = _spec(job)
    named = context.params["config"] is not None or job.engine.model is not None
    names = model or ([spec.model] if named else published_models())
    specs = [spec.model_copy(update={"model": name}) for name in names]
    sizes = _sizes(gpu_memory_gb, spec)
    notes = []
    if cluster is not None:
        engines, sizes = _check(job, specs, cluster=cluster, gpu_gb=sizes)
        share = f"{counted(engines.cpus, 'CPU')} for an engine"
        if engines.prepare_processes:
            share += f", of which {engines.prepare_processes} prepare its requests"
        notes.append(f"{cluster} holds the job; {share}")
    gpus = context.params["engine_gpus_per_engine"]
    table = Table(box=box.MARKDOWN if markdown else box.SIMPLE_HEAD)
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in ("model", "") else "right")
    for row in _rows(
        specs, sizes=sizes or _GPU_SIZES, gpus=None if gpus is None else [gpus], best_only=best_only
    ):
        table.add_row(*row)
    notes += _cost(job, videos_per_sec=videos_per_sec, summary=summary)
    # A narrow terminal wraps lines rather than words, and a document's table nothing.
    Console(width=max(Console().width, _WIDTH), soft_wrap=True).print(table)
    for note in notes:
        typer.echo(note)
    return 0


def _spec(job: JobConfig) -> EngineSpec:
    """The job's engine, by the recipe as the job makes it."""
    if job.engine.kind == "openai":
        raise ConfigError("there is nothing to size: engine.kind is openai, an endpoint elsewhere")
    kind = find_recipe(job.recipe.name)
    return recipe_engine(job.engine, kind(job.recipe, model=job.engine.model), storage=job.storage)


def _sizes(text: str | None, spec: EngineSpec) -> Sequence[float]:
    if text is None:
        return [spec.gpu_memory_gb] if spec.gpu_memory_gb is not None else []
    try:
        sizes = [float(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or not all(0 < size < math.inf for size in sizes):
        raise ConfigError(f"--gpu-memory-gb {text}: write sizes in GB, such as 24,80")
    return sizes


def _check(
    job: JobConfig, specs: Sequence[EngineSpec], *, cluster: str, gpu_gb: Sequence[float]
) -> tuple[Engines, Sequence[float]]:
    """Check that a cluster's nodes, and its GPUs' memory where known, hold the job.

    Returns:
        its engines, and the GPUs' memory in GB, empty where the cluster file does not tell.

    Raises:
        ConfigError: they do not.
    """
    nodes = read_cluster(cluster, job.storage)
    decode = None if specs[0].plan is None else job.decode
    engines = engines_asked(specs[0], nodes, plan=specs[0].plan)
    holding = check_places(nodes, engines=engines, decode=decode)
    found = known_gpu_gb(gpu_types(holding))
    sizes = gpu_gb or ([found] if found is not None else [])
    if runs_on_gpu(specs[0], nodes):
        for spec in specs:
            for size in sizes:
                check_memory(spec, gpu_gb=size)
    return engines, sizes


def _rows(
    specs: Iterable[EngineSpec],
    *,
    sizes: Iterable[float],
    gpus: Sequence[float] | None,
    best_only: bool,
) -> Iterable[tuple[str, ...]]:
    for spec in specs:
        shape = shape_for(spec)
        for size in sizes:
            fits = fits_of(shape, spec, gpu_gb=size, gpus=gpus)
            choice = best(fits)
            shown = [choice] if best_only and choice is not None else fits
            yield from (_row(fit, chosen=fit is choice) for fit in shown)


def _row(fit: Fit, *, chosen: bool) -> tuple[str, ...]:
    engines = fit.engines_per_gpu
    return (
        fit.model.name,
        f"{fit.gpu_bytes / GB:g}",
        f"{fit.gpus:g}",
        f"{fit.weights / GB:.1f}",
        f"{fit.overhead / GB:.1f}",
        f"{fit.kv_cache / GB:.1f}" if fit.kv_cache > 0 else "none",
        f"{fit.kv_per_sequence / GB:.2f}",
        f"{fit.sequences or 'does not fit'}" if fit.splits else "cannot be split",
        f"{engines:g}" if engines >= 1 else f"1/{1 / engines:g}",
        f"{fit.sequences_per_gpu:g}",
        "best" if chosen else "",
    )


def _cost(job: JobConfig, *, videos_per_sec: float | None, summary: str | None) -> Sequence[str]:
    """What a thousand videos take, from a measured rate.

    Raises:
        ConfigError: the summary cannot be read, or is of a run without GPUs.
    """
    if videos_per_sec is not None and summary is not None:
        raise ConfigError("give the rate by --videos-per-sec or by --summary, not by both")
    if summary is not None:
        try:
            found = RunSummary.model_validate_json(read_whole(summary, job.storage))
        except (OpenError, ValidationError) as error:
            raise ConfigError(f"the summary {summary} cannot be read: {error}") from error
        if not found.cost.gpu_hours or not found.videos_captioned:
            raise ConfigError(f"the summary {summary} is of a run that captioned nothing on GPUs")
        hours = found.cost.gpu_hours / found.videos_captioned * 1000
    elif videos_per_sec is not None:
        if videos_per_sec <= 0:
            raise ConfigError("--videos-per-sec is the rate of one GPU and above 0")
        hours = 1000 / videos_per_sec / 3600
    else:
        return []
    price = job.price_per_gpu_hour
    money = "" if price is None else f", {hours * price:.2f} at {price:g} per GPU-hour"
    return [f"1,000 videos: {hours:.3f} GPU-hours{money}"]


if __name__ == "__main__":
    typer.run(command)
