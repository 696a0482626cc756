"""Rows of CSV, JSONL and Parquet files, local or on S3."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json

from rayjob.output.store import TableStore
from schemas.errors import SourceError
from schemas.media import StorageOptions

SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")

_ID_COLUMNS = ("video_id", "id", "video", "path", "uri", "video_path")

Row = dict[str, Any]


def is_table(where: str) -> bool:
    """Whether the name is one of a table file."""
    return where.lower().endswith(SUFFIXES)


def read_rows(where: str, storage: StorageOptions) -> list[Row]:
    """All rows of a table file, one dict per row.

    Raises:
        SourceError: it is not there or not readable; the message says where.
    """
    folder, name = posixpath.split(where)
    try:
        data = TableStore(folder or ".", storage).read_bytes(name)
    except (OSError, ValueError) as error:
        raise SourceError(f"{where} cannot be read: {error}") from error
    suffix = posixpath.splitext(name)[1].lower()
    try:
        if suffix == ".parquet":
            rows: list[Row] = pq.read_table(pa.BufferReader(data)).to_pylist()
            return rows
        if suffix == ".csv":
            return _csv_rows(data, where)
        if suffix in (".jsonl", ".ndjson"):
            return _jsonl_rows(data, where)
    except UnicodeDecodeError as error:
        raise SourceError(f"{where} is not UTF-8: {error}") from error
    except pa.ArrowException as error:
        raise SourceError(f"{where} is not a readable Parquet file: {error}") from error
    raise SourceError(f"{where} is not a table: names of tables end in {', '.join(SUFFIXES)}")


def _csv_rows(data: bytes, where: str) -> list[Row]:
    # A long caption passes the module's default of 131,072 characters a cell.
    csv.field_size_limit(1 << 30)
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    rows: list[Row] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise SourceError(f"{where}, line {reader.line_num}: not as many cells as columns")
            rows.append(dict(row))
    except csv.Error as error:
        raise SourceError(f"{where}, line {reader.line_num}: {error}") from error
    return rows


def _jsonl_rows(data: bytes, where: str) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(data.decode("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = from_json(line)
        except ValueError as error:
            raise SourceError(f"{where}, line {number}: malformed JSON ({error})") from error
        if not isinstance(row, dict):
            raise SourceError(f"{where}, line {number}: not a JSON object")
        rows.append(row)
    return rows


def pick_column(
    columns: Iterable[str], candidates: Iterable[str], *, chosen: str | None, what: str, where: str
) -> str:
    """The column to take: the user's choice, or the first candidate that is there.

    Raises:
        SourceError: the table has neither.
    """
    there = list(columns)
    wanted = [chosen] if chosen is not None else list(candidates)
    for name in wanted:
        if name in there:
            return name
    raise SourceError(
        f"{where} has no column for {what} ({', '.join(wanted)}); "
        f"it has {', '.join(there) or 'none'}"
    )


def by_video(
    rows: Sequence[Row], where: str, *, id_column: str | None = None
) -> Iterator[tuple[str, str, Row]]:
    """Each row with its place, for messages, and its video's id: (place, id, row).

    Raises:
        SourceError: there is no column for the id, or a row has none.
    """
    if not rows:
        return
    column = pick_column(rows[0], _ID_COLUMNS, chosen=id_column, what="the video's id", where=where)
    for number, row in enumerate(rows, start=1):
        place = f"{where}, row {number}"
        if row.get(column) in (None, ""):
            raise SourceError(f"{place}: the column {column!r} is empty")
        yield place, str(row[column]), row


def seconds(row: Mapping[str, Any]) -> float | None:
    """The row's duration in seconds: column ``duration_sec`` or ``duration``."""
    value = row.get("duration_sec", row.get("duration"))
    try:
        return None if value in (None, "") else float(str(value))
    except ValueError:
        return None
