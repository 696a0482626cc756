"""Which captions leave an output: those of one name that are ok and meet a condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from rayjob.output.store import TableStore
from rayjob.reporting.reading import Part, list_parts, opened
from rayjob.reporting.runs import read_config
from schemas.errors import SourceError, UsageError
from schemas.tables import CAPTIONS

ROWS = CAPTIONS.append(pa.field("run_id", pa.string(), nullable=False))
"""What a condition may name, and what the formats that keep all columns hold."""

_BATCH_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Captions of one name in an output.

    Attributes:
        parts: the runs that wrote them.
        where: SQL condition on :data:`ROWS`, in DuckDB's words; None for all.
        any_status: also those that are cut off or invalid.
    """

    store: TableStore
    name: str
    parts: tuple[Part, ...]
    where: str | None = None
    any_status: bool = False

    @property
    def is_fused(self) -> bool:
        """Whether the captions were made of others."""
        return self.parts[0].table == "fused"

    @property
    def recipe(self) -> str:
        """The recipe, or the task of a fusion, that made the newest of them."""
        config = read_config(self.store, self.parts[-1].run_id)
        recipe = config.get("recipe")
        return str((recipe if isinstance(recipe, dict) else {}).get("name") or self.name)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batches of :data:`ROWS`, in the order of the shards.

        Raises:
            UsageError: the condition is not valid, or DuckDB is not installed.
            SourceError: a shard is damaged.
        """
        rows = self._with_status()
        return rows if self.where is None else _where(self.where, rows)

    def _with_status(self) -> Iterator[pa.RecordBatch]:
        for part in self.parts:
            for entry in part.files:
                with opened(self.store, entry, ()) as file:
                    for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                        rows = _complete(batch, part.run_id)
                        if not self.any_status:
                            rows = rows.filter(pc.equal(rows.column("caption_status"), "ok"))
                        yield rows


def select(
    store: TableStore, *, name: str | None, where: str | None, any_status: bool
) -> Selection:
    """Find the captions of a name.

    Args:
        name: of a captioning or a fusion; None for the only one that there is.

    Raises:
        SourceError: there is none, or several.
    """
    named: dict[str, list[Part]] = {}
    for table in ("captions", "fused"):
        for part in list_parts(store, table):
            named.setdefault(part.recipe, []).append(part)
    if not named:
        raise SourceError(
            f"{store.url} holds no captions: --input is the folder or prefix that "
            "`rayjob caption` or `rayjob fuse` wrote to"
        )
    there = f"there are {', '.join(named)}"
    if name is None and len(named) > 1:
        raise SourceError(f"which captions of {store.url}? Choose by --name: {there}")
    name = name or next(iter(named))
    if name not in named:
        raise SourceError(f"{store.url} holds no captions named {name!r}: {there}")
    return Selection(
        store=store, name=name, parts=tuple(named[name]), where=where, any_status=any_status
    )


def _complete(batch: pa.RecordBatch, run_id: str) -> pa.RecordBatch:
    """A batch with every column of :data:`ROWS`: earlier versions did not write all of them."""
    columns = {
        field.name: batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in CAPTIONS
    }
    columns["run_id"] = pa.array([run_id] * batch.num_rows, pa.string())
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=ROWS)


def _where(condition: str, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    try:
        import duckdb
    except ImportError as error:
        raise UsageError("--where takes DuckDB: pip install 'rayjob[export]'") from error
    problems: list[Exception] = []

    def told() -> Iterator[pa.RecordBatch]:
        try:
            yield from rows
        except Exception as error:  # DuckDB would make it one of its own
            problems.append(error)
            raise

    # The condition is about the rows: no file or address is to be reached by it.
    options: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": False,
        "python_enable_replacements": False,
    }
    with duckdb.connect(config=options) as connection:
        connection.register("rows", pa.RecordBatchReader.from_batches(ROWS, told()))
        try:
            # On a line of its own, so that it may end in a comment.
            found = connection.sql(f"SELECT * FROM rows WHERE (\n{condition}\n)")
            for batch in found.to_arrow_reader(_BATCH_ROWS):
                yield batch.cast(ROWS)
        except (duckdb.Error, pa.ArrowException) as error:
            if problems:
                raise problems[0] from error
            raise UsageError(f"--where: {str(error).strip()}") from error
