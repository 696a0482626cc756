"""CSV as SkyCaptioner's scripts write it: the path, the input's other columns, the caption."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

PATH = "path"

_COLUMNS = {"structured": "structural_caption"}


class _Lines:
    """For ``csv.writer``, whose ``writerow`` returns what this returns."""

    def write(self, line: str) -> str:
        return line


def csv_lines(rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """Rows of cells as lines of CSV."""
    writer: Any = csv.writer(_Lines(), lineterminator="\n")
    for row in rows:
        yield writer.writerow(row)


def column_of(recipe: str, *, fused: bool) -> str:
    """The caption's column, as the published scripts name it."""
    return f"{recipe}_fusion_caption" if fused else _COLUMNS.get(recipe, "caption")


def lines(
    first: Iterable[pa.RecordBatch], second: Iterable[pa.RecordBatch], column: str
) -> Iterator[str]:
    """The header, and one line per caption.

    Args:
        first, second: the same batches of :data:`rayjob.exporting.selection.ROWS` twice, for the
            names of the input's columns and for their values.
        column: the caption's.
    """
    kept: dict[str, None] = {}
    for batch in first:
        for text in batch.column("metadata").drop_null().unique().to_pylist():
            kept.update(dict.fromkeys(json.loads(text)))
    names = [name for name in kept if name not in (PATH, column)]
    yield from csv_lines([[PATH, *names, column]])
    yield from csv_lines(_rows(second, names))


def _rows(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Iterator[list[str]]:
    for batch in batches:
        for row in batch.select(["uri", "metadata", "structured", "caption"]).to_pylist():
            known = json.loads(row["metadata"] or "{}")
            text = row["structured"] or row["caption"]
            yield [row["uri"], *(_cell(known.get(name)) for name in names), text]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
