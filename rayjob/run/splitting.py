"""What a split checks before it starts, and what it does on the driver."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from ray.data import Dataset

from actors.splitting.extras import EXTRAS, is_installed
from actors.storage.uris import local_path
from rayjob.capacity.cluster import Resources
from rayjob.capacity.pool import EnginePool
from rayjob.counts import counted
from rayjob.inputs.columns import Listed
from rayjob.inputs.listing import iter_inputs, iter_listed
from rayjob.inputs.manifests import Input
from rayjob.inputs.todo import Portion
from rayjob.output.caption_scores import CaptionScores
from rayjob.output.duplicates import Duplicates
from rayjob.output.layout import ResultTables
from rayjob.output.ledger import Ledger
from rayjob.output.store import TableStore
from rayjob.run.graph import DecodePool, split_graph
from rayjob.run.work import Work, check_name
from schemas.errors import ConfigError
from schemas.splitting import SplitConfig


@dataclass(frozen=True, kw_only=True)
class PreparedSplit(Work):
    """A split that could start."""

    config: SplitConfig
    caption_scores: CaptionScores

    def inputs(self) -> Iterable[Input]:
        """List the videos, done or not. Raises as :meth:`Work.inputs`."""
        return iter_inputs(
            self.config.input, source=self.config.source, storage=self.config.storage
        )

    def listed(self) -> Iterable[Listed]:
        """As :meth:`inputs`, many at a time where that is faster."""
        return iter_listed(
            self.config.input, source=self.config.source, storage=self.config.storage
        )

    def engines(self, resources: Resources) -> EnginePool | None:
        """None: a split has no engines."""
        return None

    def decoders(self, resources: Resources, engines: EnginePool | None) -> DecodePool | None:
        """One actor per CPU, and no more than have their share of a GPU where they take one."""
        pool, gpus = super().decoders(resources, engines), self.config.gpus_per_actor
        assert pool is not None
        if gpus:
            room = sum(int(node.get("GPU", 0.0) / gpus + 1e-9) for node in resources.nodes)
            if not room:
                raise ConfigError(f"no node of the cluster has {gpus:g} of a GPU for a split actor")
            pool = replace(pool, actors=min(pool.actors, room))
        return pool

    def graph(
        self,
        todo: Sequence[Portion],
        pool: EnginePool | None,
        decode: DecodePool | None,
        *,
        monitor: Any,
    ) -> Dataset:
        """As :func:`rayjob.run.graph.split_graph`."""
        assert decode is not None
        return split_graph(todo, self.store, config=self.config, decode=decode, monitor=monitor)

    def describe(self, pool: EnginePool | None, decode: DecodePool | None) -> str:
        """The pool of actors, for a person."""
        assert decode is not None
        return counted(decode.actors, "split actor")

    def marked(self, results: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Without what captions speak against and what is there already."""
        made = self.caption_scores.marked(results)
        bits = self.config.duplicate_bits
        return made if bits is None else Duplicates(self.store, self.tables, bits).marked(made)


def prepare_split(config: SplitConfig) -> PreparedSplit:
    """Check local inputs, what has to be installed, and the output; read the captions that filters
    are about.

    Raises:
        UsageError: one of them is wrong.
    """
    if importlib.util.find_spec("scenedetect") is None:
        raise ConfigError("rayjob split takes PySceneDetect: pip install 'rayjob[split]'")
    for name in EXTRAS:
        is_installed(name, config)
    for place in config.input:
        if local_path(place) is not None:
            next(iter(iter_inputs([place], source=config.source, storage=config.storage)), None)
    store = TableStore(config.output, config.storage)
    tables = ResultTables.of_split(config.name)
    named = ResultTables.named
    check_name(store, named(config.name), named(config.name, fused=True))
    return PreparedSplit(
        config=config,
        name=config.name,
        settings_hash=_settings_hash(config),
        caption_scores=CaptionScores(store, config.filters),
        store=store,
        tables=tables,
        ledger=Ledger(store, tables=tables),
    )


def _settings_hash(config: SplitConfig) -> str:
    """Of all that decides a row."""
    told = config.model_dump(
        mode="json",
        include={"min_sec", "max_sec", "cuts", "filters", "duplicate_bits"},
        exclude_none=True,
    )
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
