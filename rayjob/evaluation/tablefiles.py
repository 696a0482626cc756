"""Rows of CSV, JSONL and Parquet files, local or on S3."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rayjob.inputs.rows import iter_rows
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
        SourceError: it is not there, not readable, or empty; the message says where.
    """
    rows = []
    for place, row in iter_rows(os.path.expanduser(where), storage):
        try:
            "".join(value for value in row.values() if isinstance(value, str)).encode()
        except UnicodeEncodeError:
            raise SourceError(f"{where}, {place}: half of a surrogate pair is not text") from None
        rows.append(row)
    if not rows:
        raise SourceError(f"{where} has no rows")
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

    Args:
        rows: one or more.

    Raises:
        SourceError: there is no column for the id, or a row has none.
    """
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
