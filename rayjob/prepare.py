"""What is read and checked before anything starts, and the plan that ``--dry-run`` shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actors.storage.uris import local_path
from rayjob import graph
from rayjob.capacity import cluster
from rayjob.capacity.engine_spec import recipe_engine
from rayjob.capacity.pool import EnginePool, check_model, engine_pool, model_revision
from rayjob.inputs.earlier_captions import iter_material
from rayjob.inputs.listing import iter_inputs
from rayjob.inputs.todo import InputLike, plan_manifest
from rayjob.output.layout import ResultTables
from rayjob.output.ledger import Ledger
from rayjob.output.store import TableStore
from rayjob.recipes import find_recipe
from rayjob.recipes.base import BaseRecipe
from schemas.config import FuseConfig, JobConfig
from schemas.errors import ConfigError, ModelError

Config = JobConfig | FuseConfig


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that could start.

    Attributes:
        config: with the plan that the recipe settled on.
    """

    config: Config
    recipe: BaseRecipe
    store: TableStore
    tables: ResultTables
    ledger: Ledger

    def inputs(self) -> Iterable[InputLike]:
        """List what the run is about, done or not: videos, or videos with their captions.

        Raises:
            SourceError: an input cannot be listed.
        """
        return _inputs(self.config, self.config.input, type(self.recipe))

    def engines(self, resources: cluster.Resources) -> EnginePool:
        """The pool of engines on a cluster.

        Raises:
            ConfigError: the cluster cannot hold it, and a decoder beside it.
        """
        spec = recipe_engine(self.config.engine, self.recipe)
        decode = self.config.decode if isinstance(self.config, JobConfig) else None
        return engine_pool(spec, resources, decode=decode)

    def decoders(
        self, resources: cluster.Resources, engines: EnginePool
    ) -> graph.DecodePool | None:
        """The pool of decode actors; None where there is nothing to decode."""
        if not isinstance(self.config, JobConfig):
            return None
        return graph.decode_pool(
            self.config.decode,
            engines=engines,
            resources=resources,
            storage=self.config.storage,
        )


def prepare(config: Config) -> Prepared:
    """Check recipe, local inputs, model and output, in this order: what is nearest at first.

    Raises:
        UsageError: one of them is wrong.
    """
    kind = find_recipe(config.recipe.name)
    fuses = kind.plan is None
    if fuses != isinstance(config, FuseConfig):
        does, command = ("fuses captions", "fuse") if fuses else ("captions videos", "caption")
        raise ConfigError(f"the recipe {kind.name} {does}: run it with python -m rayjob.{command}")
    for place in config.input:
        if local_path(place) is not None:
            next(iter(_inputs(config, [place], kind)), None)
    model = config.engine.model or kind.model
    if not model:
        raise ModelError(
            f"the recipe {kind.name} names no model: give its class the attribute 'model', "
            "or pass --model"
        )
    check_model(model, config.engine)
    recipe = kind(
        config.recipe,
        model=model,
        model_revision=model_revision(model, config.engine.revision),
    )
    store = TableStore(config.output, config.storage)
    tables = ResultTables.of_recipe(recipe.name, fused=fuses)
    return Prepared(
        config=config.model_copy(
            update={"recipe": config.recipe.model_copy(update={"plan": recipe.plan})}
        ),
        recipe=recipe,
        store=store,
        tables=tables,
        ledger=Ledger(store, tables=tables),
    )


def _inputs(config: Config, places: Sequence[str], kind: type[BaseRecipe]) -> Iterable[InputLike]:
    if isinstance(config, FuseConfig):
        source = config.source_recipe or kind.source_recipe
        return iter_material(places, recipe=source, storage=config.storage)
    return iter_inputs(places, source=config.source, storage=config.storage)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do, for ``--dry-run``."""

    recipe: str
    inputs: int
    done: int
    changed: int
    moved: int
    todo: int
    pool: EnginePool
    decode_actors: int
    output: str

    def show(self, console: Console) -> None:
        """Print it."""
        table = Table.grid(padding=(0, 2))
        table.add_row("recipe", escape(self.recipe))
        table.add_row("inputs", f"{self.inputs}")
        table.add_row("already done", f"{self.done}")
        if self.changed:
            table.add_row("changed since", f"{self.changed}")
        if self.moved:
            table.add_row("done under another uri", f"{self.moved}")
        table.add_row("to do", f"{self.todo}")
        table.add_row("engines", escape(self.pool.describe()))
        if self.decode_actors:
            table.add_row("decode actors", f"{self.decode_actors}")
        table.add_row("output", escape(self.output))
        console.print(table, highlight=False, soft_wrap=True)


def plan(config: Config) -> Plan:
    """What :func:`rayjob.job.run` would do; reads inputs and output, starts nothing.

    Raises:
        UsageError: as :func:`rayjob.job.run` does.
    """
    prepared = prepare(config)
    resources = cluster.peek()
    pool = prepared.engines(resources)
    decoders = prepared.decoders(resources, pool)
    done = prepared.ledger.load(retry_failed=config.retry_failed)
    counts = plan_manifest(
        config.run_id or "run",
        prepared.inputs(),
        done,
        limit=config.limit,
        retake_changed=config.retake_changed,
    )
    return Plan(
        recipe=prepared.recipe.name,
        inputs=counts.total,
        done=counts.skipped,
        changed=counts.changed,
        moved=counts.moved,
        todo=counts.todo,
        pool=pool,
        decode_actors=decoders.actors if decoders is not None else 0,
        output=prepared.store.url,
    )
