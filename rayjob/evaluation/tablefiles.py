"""Rows of CSV, JSONL and Parquet files, local or on S3."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from rayjob.inputs.rows import iter_rows
from schemas.errors import SourceError
from schemas.media import StorageOptions

SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")

Row = dict[str, Any]


def is_table(where: str) -> bool:
    """Whether the name is one of a table file."""
    return where.lower().endswith(SUFFIXES)


def read_rows(where: str, storage: StorageOptions) -> list[Row]:
    """All rows of a table file, one dict per row.

    Raises:
        SourceError: it is not there or not readable; the message says where.
    """
    return [row for _, row in iter_rows(os.path.expanduser(where), storage)]


def pick_column(
    columns: Iterable[str], candidates: Iterable[str], *, chosen: str | None, what: str, where: str
) -> str:
    """The column to take: the user's choice, or the first candidate that is there.

    Raises:
        SourceError: neither is there.
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


def seconds(row: Mapping[str, Any]) -> float | None:
    """The row's duration in seconds: column ``duration_sec`` or ``duration``."""
    value = row.get("duration_sec", row.get("duration"))
    try:
        return None if value in (None, "") else float(str(value))
    except ValueError:
        return None
