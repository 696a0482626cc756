"""Where things are in an output, from its root."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, unquote

import pyarrow as pa

from schemas.errors import ConfigError
from schemas.tables import CAPTIONS, SEGMENTS

_SHARD = re.compile(r"(part-(\d+)(?:-epoch(\d+)|-\w+)?)(?:\.epoch(\d+))?\.parquet")


class ShardName(NamedTuple):
    """What the name of a shard tells: ``part-00012-epoch0007.parquet``, or without some of its
    rows ``part-00012-epoch0007.epoch0009.parquet``.

    Attributes:
        stem: up to the first dot: what the rows of one attempt share in both tables.
        part: grows over all runs of a captioning; -1 for a file that is not a shard.
        made: the epoch in which the rows were made; -1 where the name does not tell.
        epoch: the epoch in which this file was written; None where the name does not tell, as
            somebody else wrote it.
    """

    stem: str
    part: int
    made: int
    epoch: int | None

    @classmethod
    def parse(cls, path: str) -> ShardName:
        """The name at the end of a path."""
        name = path.rpartition("/")[2]
        match = _SHARD.fullmatch(name)
        if match is None:
            return cls(name, -1, -1, None)
        stem, part, made, written = match.groups()
        epoch = written or made
        return cls(stem, int(part), int(made or -1), None if epoch is None else int(epoch))


def shard_name(part: int, epoch: int) -> str:
    """The name of a new shard."""
    return f"part-{part:05d}-epoch{epoch:04d}.parquet"


def rewritten(path: str, epoch: int) -> str:
    """Where a shard goes that is written again without some of its rows."""
    return f"{path.rpartition('/')[0]}/{ShardName.parse(path).stem}.epoch{epoch:04d}.parquet"


@dataclass(frozen=True, kw_only=True)
class ResultTables:
    """Folders of the two tables that hold the results of one captioning or split, from the root.

    Characters that mean something in a path are percent-encoded, which readers of Hive
    partitions undo.
    """

    captions: str
    failures: str
    rows: pa.Schema = CAPTIONS
    """Of the table at ``captions``: a split has its segments there."""

    @classmethod
    def named(cls, name: str, *, fused: bool = False) -> ResultTables:
        """``captions/recipe=NAME``, or of captions that are fused ``fused/task=NAME``; failures
        are in ``failures/recipe=NAME`` either way.

        Raises:
            ConfigError: a reader would take the name for a number.
        """
        if not name[:1].isalpha():
            raise ConfigError(f"the name {name!r} of a captioning does not begin with a letter")
        quoted = quote(name, safe="")
        return cls(
            captions=f"fused/task={quoted}" if fused else f"captions/recipe={quoted}",
            failures=f"failures/recipe={quoted}",
        )

    @classmethod
    def of_split(cls, name: str) -> ResultTables:
        """``segments/split=NAME``, and ``failures/recipe=NAME``. Raises as :meth:`named`."""
        failures = cls.named(name).failures
        return cls(
            captions=f"segments/split={quote(name, safe='')}", failures=failures, rows=SEGMENTS
        )

    @property
    def name(self) -> str:
        """The captioning's name, percent-encoded."""
        return self.name_in(self.captions)

    @staticmethod
    def name_in(path: str) -> str:
        """The name in the path of a folder or a file of one of the tables."""
        return path.partition("=")[2].partition("/")[0]

    def in_run(self, run_id: str) -> ResultTables:
        """The folders of one run's shards."""
        name = quote(run_id, safe="")
        return ResultTables(
            captions=f"{self.captions}/run_id={name}",
            failures=f"{self.failures}/run_id={name}",
            rows=self.rows,
        )


def run_folder(run_id: str) -> str:
    """Folder of what a run writes about itself: ``runs/ID``."""
    return f"runs/{quote(run_id, safe='')}"


def partition_keys(path: str) -> dict[str, str]:
    """The Hive partition keys in a path of an output, such as ``recipe`` and ``run_id``."""
    parts = (part.partition("=") for part in path.split("/")[:-1] if "=" in part)
    return {key: unquote(value) for key, _, value in parts}
