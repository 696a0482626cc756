"""``rayjob check``: rehearse what a job asks of its model, without weights."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from rayjob.capacity.budget import recipe_budget, recipe_script
from rayjob.capacity.engine_spec import recipe_engine
from rayjob.capacity.model_files import WEIGHTS, check_model
from rayjob.capacity.pool import engine_settings
from rayjob.recipes import find_recipe
from rayjob.settings.flags import settings_command
from rayjob.settings.terminal import printable
from schemas.config import JobConfig, ModelJob
from schemas.errors import ModelError


@settings_command(
    ModelJob,
    flags=("recipe.name", "recipe.prompt_file", "engine.model", "engine.max_model_len"),
)
def command(
    job: JobConfig,
    console: Console,
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print what the model gets, word for word.")
    ] = False,
) -> int:
    """Render a frame, clips, sound and a system message as the recipe asks about them, and check
    that all of it reaches the model.

    Reads the model's configuration, tokenizer and processor, and needs no GPU and no weights.
    Every engine does the same before it loads any. Exit codes: 0, or 2 with the setting to change.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ModelError("vLLM is not installed here; run this on a node where engines run")
    from actors.engine.loading import load
    from actors.engine.rehearsal import rehearse, shown

    kind = find_recipe(job.recipe.name)
    recipe = kind(job.recipe, model=job.engine.model)
    spec = recipe_engine(job.engine, recipe, storage=job.storage)
    check_model(spec.model, spec, job.storage)
    budget = recipe_budget(recipe, spec)
    script = recipe_script(recipe, budget)
    settings = engine_settings(spec, on_gpu=False, budget=budget)
    # What vLLM says while it reads is for those who start it.
    quiet = settings.environment | {"VLLM_LOGGING_LEVEL": "ERROR"}
    stored = settings.stored and settings.stored.without(*WEIGHTS)
    scenes = rehearse(load(replace(settings, environment=quiet, stored=stored)), script)
    for line in shown(scenes, texts=verbose):
        typer.echo(printable(line))
    return 0


if __name__ == "__main__":
    typer.run(command)
