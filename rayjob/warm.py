"""``rayjob warm``: bring a job's model to the nodes ahead of the job."""

from __future__ import annotations

from typing import Any

import ray
import ray.exceptions
import typer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from actors.engine.loading import EngineSettings, fetch_model
from rayjob.capacity import cluster
from rayjob.capacity.engine_spec import recipe_engine
from rayjob.capacity.model_files import check_model
from rayjob.capacity.placement import NodeType, engines_asked, running
from rayjob.capacity.pool import engine_settings
from rayjob.recipes import find_recipe
from rayjob.settings.flags import settings_command
from schemas.config import JobConfig, ModelJob
from schemas.errors import ConfigError, ModelError


@settings_command(ModelJob, flags=("recipe.name", "engine.model", "storage.endpoint_url"))
def command(job: JobConfig, console: Console) -> int:
    """Fetch the model's files to every node of the cluster that can hold one of the job's engines,
    so that the job need not.

    Fetches from a storage (s3://, gs://) or the hub; of a folder it looks whether each node has it.
    Needs no GPU. Exit codes: 0, or 2 where a node cannot have the model.
    """
    if job.engine.kind == "openai":
        raise ConfigError("there is nothing to fetch: engine.kind is openai, an endpoint elsewhere")
    kind = find_recipe(job.recipe.name)
    recipe = kind(job.recipe, model=job.engine.model)
    spec = recipe_engine(job.engine, recipe, storage=job.storage)
    check_model(spec.model, spec, job.storage)
    asked = engines_asked(spec, running(cluster.connect()), plan=spec.plan)
    settings = engine_settings(spec, on_gpu=False)
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    holding = [
        node
        for node in nodes
        if node["Alive"] and NodeType(name="", resources=node["Resources"], count=1).engines(asked)
    ]
    if not holding:
        raise ConfigError("no node of the cluster can hold an engine of the job")
    places = {node["NodeManagerHostname"]: _fetching(node["NodeID"], settings) for node in holding}
    problems = []
    for name, place in places.items():
        try:
            typer.echo(f"{name}: {ray.get(place)}")
        except ray.exceptions.RayError as error:
            problems.append(f"{name}: {cluster.innermost(error)}")
    if problems:
        raise ModelError("\n".join(problems))
    return 0


def _fetching(node_id: str, settings: EngineSettings) -> Any:
    """A task on a node, which beside others takes no CPU."""
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    task = ray.remote(fetch_model).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    return task.remote(settings)


if __name__ == "__main__":
    typer.run(command)
