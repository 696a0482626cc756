"""Streams a run's tables: the files of its partitions, batch by batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rayjob.output.commits import shards
from rayjob.output.layout import partition_keys
from rayjob.output.store import Entry, TableStore
from schemas.errors import SourceError

_BATCH_ROWS = 8192

KEYS = {"captions": "recipe", "fused": "task", "failures": "recipe"}
"""Tables of an output, and the partition key that says how their rows were made."""

LATER = {"sample", "warnings"}
"""Columns that not every version wrote."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A partition: the rows of one run, made in one way.

    Attributes:
        table: "captions", "fused" or "failures".
        recipe: the recipe, or the task of a fusion.
        files: its Parquet files.
    """

    table: str
    recipe: str
    run_id: str
    files: tuple[Entry, ...]

    @property
    def label(self) -> str:
        """What the page calls rows of this kind."""
        return f"fused: {self.recipe}" if self.table == "fused" else self.recipe


def list_parts(store: TableStore, table: str) -> list[Part]:
    """All partitions of a table, sorted by recipe and run."""
    files: dict[tuple[str, str], list[Entry]] = {}
    for entry in shards(store, table):
        keys = partition_keys(entry.path)
        if KEYS[table] in keys and "run_id" in keys:
            files.setdefault((keys[KEYS[table]], keys["run_id"]), []).append(entry)
    return [
        Part(table=table, recipe=recipe, run_id=run_id, files=tuple(entries))
        for (recipe, run_id), entries in sorted(files.items())
    ]


def batches(store: TableStore, entry: Entry, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The named columns of a file, some thousand rows at a time.

    Columns that earlier versions did not write (:data:`LATER`) are left out where they are not
    there.

    Raises:
        SourceError: the file is damaged, or lacks one of the columns.
        OutputUnavailableError: the storage failed in spite of retries.
    """
    with opened(store, entry, columns) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=there)


def rows_of(
    store: TableStore, part: Part, columns: Sequence[str], video_ids: Collection[str]
) -> Iterator[dict[str, Any]]:
    """The rows of a partition that belong to one of the videos.

    Looks at the ids first, and reads the other columns only of row groups that hold one.
    Raises as :func:`batches` does.
    """
    wanted = pa.array(sorted(video_ids), type=pa.string())
    for entry in part.files:
        with opened(store, entry, columns) as file:
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["video_id"]).column("video_id")
                if not pc.any(pc.is_in(ids, value_set=wanted)).as_py():
                    continue
                for batch in file.iter_batches(
                    batch_size=_BATCH_ROWS, row_groups=[group], columns=[*columns]
                ):
                    found = pc.is_in(batch.column("video_id"), value_set=wanted)
                    yield from batch.filter(found).to_pylist()


@contextmanager
def opened(store: TableStore, entry: Entry, columns: Sequence[str]) -> Iterator[pq.ParquetFile]:
    """A file that has the named columns. Raises as :func:`batches` does."""
    try:
        with store.open_parquet(entry.path, size=entry.size) as file:
            missing = set(columns) - set(file.schema_arrow.names) - LATER
            if missing:
                raise SourceError(
                    f"{store.url_of(entry.path)} has no column {', '.join(sorted(missing))}: "
                    "it was not written by this version of rayjob"
                )
            yield file
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{store.url_of(entry.path)} cannot be read: {error}") from error
