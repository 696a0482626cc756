"""What every run has, whatever it does with its inputs."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from ray.data import Dataset

from actors.engine.stats import EngineStats
from rayjob.capacity.cluster import Resources
from rayjob.capacity.pool import EnginePool
from rayjob.counts import counted
from rayjob.ids import Earlier
from rayjob.inputs.columns import Listed
from rayjob.inputs.listing import places_of
from rayjob.inputs.manifests import Input
from rayjob.inputs.todo import Portion, TodoList
from rayjob.output.layout import ResultTables
from rayjob.output.ledger import Ledger
from rayjob.output.store import TableStore
from rayjob.output.summary import Cost
from rayjob.run.graph import DecodePool, decode_pool
from schemas.config import FuseConfig, JobConfig
from schemas.errors import ConfigError
from schemas.splitting import SplitConfig

CaptionConfig = JobConfig | FuseConfig
Config = CaptionConfig | SplitConfig


def check_name(store: TableStore, *others: ResultTables) -> None:
    """Raise ConfigError where a name has results of another kind: two would share its failures."""
    for other in others:
        if any(store.list(other.captions, suffix=".parquet")):
            raise ConfigError(f"{store.url} holds {other.captions}: choose another --name")


@dataclass(frozen=True, kw_only=True)
class Work(abc.ABC):
    """A run that could start.

    Attributes:
        name: of the captioning, fusion or split.
        settings_hash: 16 hex digits that stand for all that decides a row.
    """

    config: Config
    name: str
    settings_hash: str
    store: TableStore
    tables: ResultTables
    ledger: Ledger

    @abc.abstractmethod
    def inputs(self) -> Iterable[Input]:
        """List what the run is about, done or not.

        Raises:
            SourceError: an input cannot be listed.
        """

    def listed(self) -> Iterable[Listed]:
        """As :meth:`inputs`, many at a time where that is faster."""
        return self.inputs()

    @abc.abstractmethod
    def engines(self, resources: Resources) -> EnginePool | None:
        """The pool of engines on a cluster; None without any.

        Raises:
            ConfigError: the cluster cannot hold it.
        """

    def decoders(self, resources: Resources, engines: EnginePool | None) -> DecodePool | None:
        """The pool of actors that decode, or split; None where there is nothing to decode."""
        config = self.config
        if isinstance(config, FuseConfig):
            return None
        return decode_pool(
            config.decode,
            engines=engines,
            resources=resources,
            storage=config.storage,
            places=places_of(config.input, config.storage),
        )

    @abc.abstractmethod
    def graph(
        self,
        todo: Sequence[Portion],
        pool: EnginePool | None,
        decode: DecodePool | None,
        *,
        monitor: Any,
    ) -> Dataset:
        """See :mod:`rayjob.run.graph`."""

    @abc.abstractmethod
    def describe(self, pool: EnginePool | None, decode: DecodePool | None) -> str:
        """What does the work, for a person."""

    def marked(self, results: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """What the graphs make, as the sink is to have it."""
        return results

    def prompts(self) -> dict[str, Any]:
        """What the summary tells of them."""
        return {}

    def cost(self, gpu_sec: float, engines: Sequence[EngineStats]) -> Cost:
        """Of the engines."""
        return Cost()

    def earlier(self) -> Earlier:
        """What earlier runs did, read from the tables.

        Raises:
            ConfigError: they did it with other settings, and the configuration does not say what
                is to become of that.
            UsageError: a table cannot be read.
        """
        config = self.config
        earlier = self.ledger.load(
            retry_failed=config.retry_failed,
            settings_hash=self.settings_hash,
            replace=config.replace,
        )
        if earlier.other_settings and not config.mixed:
            held = counted(earlier.other_settings, "video")
            raise ConfigError(
                f"{self.store.url} holds, under the name {self.name}, the results of {held} that "
                "were made with other settings than this run's (model, prompts, sampling plan, "
                "generation, options or rules). Choose another --name to keep both side by side, "
                "--replace to do those videos again, or --mixed to leave them as they are and go "
                "on beside them"
            )
        return earlier

    def notes(self, earlier: Earlier, todo: TodoList) -> Iterator[str]:
        """What a person should know before the run starts."""
        if earlier.unknown_settings:
            yield (
                f"{counted(earlier.unknown_settings, 'video')} done with settings that were not "
                "recorded; --replace does them again with the present ones"
            )
        if todo.repeated:
            yield (
                f"{counted(todo.repeated, 'input')} listed again, such as "
                f"{todo.repeated_example}; each counts once"
            )
        if todo.changed and not self.config.retake_changed:
            yield (
                f"{counted(todo.changed, 'input')} changed since captioned; "
                "--retake-changed takes them again"
            )
        if todo.moved:
            yield (
                f"{counted(todo.moved, 'input')} done under another uri, such as "
                f"{todo.moved_example}; they are not captioned again"
            )
