"""What is read and checked before anything starts, and the plan that ``--dry-run`` shows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ray.data import Dataset
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actors.engine.stats import EngineStats
from actors.storage.uris import local_path
from rayjob.capacity import cluster
from rayjob.capacity.budget import recipe_budget, recipe_script
from rayjob.capacity.engine_spec import recipe_engine
from rayjob.capacity.model_files import check_model, model_revision
from rayjob.capacity.pool import EnginePool, engine_pool
from rayjob.inputs.columns import Listed
from rayjob.inputs.earlier_captions import iter_material
from rayjob.inputs.lengths import evenly
from rayjob.inputs.listing import iter_inputs, iter_listed
from rayjob.inputs.manifests import Input
from rayjob.inputs.todo import Portion, TodoList, plan_todo
from rayjob.output.layout import ResultTables
from rayjob.output.ledger import Ledger
from rayjob.output.store import TableStore
from rayjob.output.summary import Cost
from rayjob.recipes import find_recipe
from rayjob.recipes.base import BaseRecipe
from rayjob.run.graph import DecodePool, caption_graph
from rayjob.run.work import CaptionConfig, Work, check_name
from rayjob.settings.terminal import printable
from schemas.config import EngineConfig, FuseConfig, JobConfig
from schemas.errors import ConfigError, ModelError


@dataclass(frozen=True, kw_only=True)
class Prepared(Work):
    """A run that captions or fuses, and could start.

    Attributes:
        config: with the plan that the recipe settled on.
        name: by default its recipe's.
    """

    config: CaptionConfig
    recipe: BaseRecipe

    def inputs(self) -> Iterable[Input]:
        """List what the run is about, done or not: videos, or videos with their captions.

        Raises:
            SourceError: an input cannot be listed, or the selection by length cannot be made.
        """
        config = self.config
        listed = _inputs(config, config.input, type(self.recipe))
        lengths = config.source.lengths if isinstance(config, JobConfig) else None
        return listed if lengths is None else evenly(listed, lengths)

    def listed(self) -> Iterable[Listed]:
        """As :meth:`inputs`, many at a time where that is faster."""
        config = self.config
        if isinstance(config, FuseConfig) or config.source.lengths is not None:
            return self.inputs()
        return iter_listed(config.input, source=config.source, storage=config.storage)

    def engines(self, resources: cluster.Resources) -> EnginePool:
        """The pool of engines on a cluster.

        Raises:
            ConfigError: the cluster cannot hold it, and a decoder beside it.
        """
        spec = recipe_engine(self.config.engine, self.recipe, storage=self.config.storage)
        decode = self.config.decode if isinstance(self.config, JobConfig) else None
        budget = recipe_budget(self.recipe, spec)
        script = recipe_script(self.recipe, budget)
        return engine_pool(spec, resources, decode=decode, budget=budget, script=script)

    def graph(
        self,
        todo: Sequence[Portion],
        pool: EnginePool | None,
        decode: DecodePool | None,
        *,
        monitor: Any,
    ) -> Dataset:
        """As :func:`rayjob.run.graph.caption_graph`."""
        assert pool is not None
        return caption_graph(
            todo,
            self.store,
            recipe=self.recipe,
            pool=pool,
            decode=decode,
            monitor=monitor,
            patience=self.config.health.engine_silent_sec,
        )

    def describe(self, pool: EnginePool | None, decode: DecodePool | None) -> str:
        """The pool of engines, for a person."""
        assert pool is not None
        return pool.describe()

    def prompts(self) -> dict[str, Any]:
        """What the summary tells of them."""
        return {
            "prompt_hash": self.recipe.prompt_hash,
            "prompt_source": self.recipe.prompt_source,
        }

    def cost(self, gpu_sec: float, engines: Sequence[EngineStats]) -> Cost:
        """Of GPUs, and of every answer, those of failed videos included."""
        return Cost.of(
            gpu_sec=gpu_sec,
            price_per_gpu_hour=self.config.price_per_gpu_hour,
            tokens=self.config.engine.endpoint.money(
                prompt_tokens=sum(each.prompt_tokens for each in engines),
                output_tokens=sum(each.output_tokens for each in engines),
            ),
        )


def prepare(config: CaptionConfig) -> Prepared:
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
    check_model(model, config.engine, config.storage)
    recipe = kind(
        config.recipe,
        model=model,
        model_revision=model_revision(model, config.engine.revision, config.storage),
    )
    store = TableStore(config.output, config.storage)
    name = config.name or kind.name
    tables = ResultTables.named(name, fused=fuses)
    check_name(store, ResultTables.named(name, fused=not fuses))
    return Prepared(
        config=config.model_copy(
            update={"recipe": config.recipe.model_copy(update={"plan": recipe.plan})}
        ),
        name=name,
        recipe=recipe,
        settings_hash=_settings_hash(config, recipe),
        store=store,
        tables=tables,
        ledger=Ledger(store, tables=tables),
    )


def _inputs(
    config: CaptionConfig, places: Sequence[str], kind: type[BaseRecipe]
) -> Iterable[Input]:
    if isinstance(config, FuseConfig):
        return iter_material(places, recipe=_source(config, kind), storage=config.storage)
    return iter_inputs(places, source=config.source, storage=config.storage)


def _source(config: FuseConfig, kind: type[BaseRecipe]) -> str:
    """The name of the captioning that is fused."""
    return config.source_recipe or kind.source_recipe


def _settings_hash(config: CaptionConfig, recipe: BaseRecipe) -> str:
    """See :attr:`Prepared.settings_hash`. How many engines there are, how they batch and what is
    taken of the inputs does not count.
    """
    options = recipe.options.model_dump(mode="json", exclude_none=True)
    for name, path in [*options.items()]:
        if name in recipe.prompts:
            del options[name]  # its text stands in ``prompts``
        elif name.endswith("_file") and os.path.exists(path):
            options[name] = _content_hash(Path(path))
    is_folder = os.path.isdir(recipe.model)
    known = {
        "recipe": recipe.name,
        "source": _source(config, type(recipe)) if isinstance(config, FuseConfig) else None,
        # A folder's revision tells what is in it. Where it lies may differ from run to run: a
        # submitted job has its working directory in another place each time.
        "model": recipe.model if config.engine.revision or not is_folder else None,
        "model_revision": recipe.model_revision,
        "processor": config.engine.mm_processor_kwargs,
        **_shown_elsewhere(config.engine),
        "texts": [recipe.system, recipe.prompt, recipe.prompts],
        "plan": recipe.plan,
        "generation": recipe.generation,
        "options": options,
        "max_attempts": recipe.max_attempts,
        "min_words": config.recipe.min_words,
        "drop_abnormal": recipe.drop_abnormal,
    }
    if recipe.samples > 1:
        known["samples"] = recipe.samples
    template = config.engine.chat_template
    chat = {
        "template": template and _content_hash(Path(template)),
        "options": config.engine.chat_template_kwargs,
        "reasoning": config.engine.reasoning_parser,
    }
    if any(chat.values()):
        known["chat"] = chat
    # Without what is not set: that may only come to exist in a later version.
    plain = partial(BaseModel.model_dump, exclude_none=True)
    text = json.dumps(known, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _content_hash(path: Path) -> str:
    """Of a file, or of the files of a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    content = b"\0".join(file.read_bytes() for file in files if file.is_file())
    return hashlib.sha256(content).hexdigest()


def _shown_elsewhere(config: EngineConfig) -> dict[str, Any]:
    """What decides captions of an endpoint: how it is shown videos, not where it is."""
    names = {"frames", "picture", "sound", "body"}
    return (
        {"endpoint": config.endpoint.model_dump(include=names)} if config.kind == "openai" else {}
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do, for ``--dry-run``."""

    prepared: Prepared
    todo: TodoList
    pool: EnginePool
    decode_actors: int

    def show(self, console: Console) -> None:
        """Print it."""
        recipe, todo = self.prepared.recipe.name, self.todo
        rows = {
            "recipe": recipe,
            "name": self.prepared.name if self.prepared.name != recipe else None,
            "inputs": todo.total,
            "listed again": todo.repeated or None,
            "already done": todo.skipped,
            "changed since": todo.changed or None,
            "done with other settings, taken again": todo.replaced or None,
            "done under another uri": todo.moved or None,
            "to do": todo.todo,
            "engines": self.pool.describe(),
            "decode actors": self.decode_actors or None,
            "output": self.prepared.store.url,
        }
        table = Table.grid(padding=(0, 2))
        for name, value in rows.items():
            if value is not None:
                table.add_row(name, escape(printable(str(value))))
        console.print(table, highlight=False, soft_wrap=True)


def plan(config: CaptionConfig) -> Plan:
    """What :func:`rayjob.run.job.run` would do; reads inputs and output, starts nothing.

    Raises:
        UsageError: as :func:`rayjob.run.job.run` does.
    """
    prepared = prepare(config)
    resources = cluster.peek()
    pool = prepared.engines(resources)
    decoders = prepared.decoders(resources, pool)
    todo = plan_todo(
        prepared.listed(),
        prepared.earlier(),
        limit=config.limit,
        retake_changed=config.retake_changed,
    )
    return Plan(
        prepared=prepared,
        todo=todo,
        pool=pool,
        decode_actors=decoders.actors if decoders is not None else 0,
    )
