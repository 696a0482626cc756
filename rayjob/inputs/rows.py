"""Rows of tables that users bring: .csv, .jsonl, .ndjson, .parquet, or .txt with a uri per line.

Files are read as a stream: a few megabytes at a time, on S3 by range requests.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.storage.access import open_range
from actors.storage.uris import display_uri
from schemas.errors import EmptyFileError, OpenError, SourceError
from schemas.media import StorageOptions

_BATCH_ROWS = 1024

# Long captions are cells too; Python's own limit is 131,072 characters.
csv.field_size_limit(1 << 30)

Row = dict[str, Any]
"""The cells of a row by column."""

_Rows = Iterator[tuple[str, Row]]


def iter_rows(uri: str, storage: StorageOptions) -> _Rows:
    """Read the rows of a table, in its order.

    Args:
        uri: where it is; the end of its name says what it is.
        storage: how to reach S3.

    Yields:
        where the row stands ("row 3", "line 3"), and the row. Cells of a .csv file are str; a
        .txt file has the column ``uri``.

    Raises:
        SourceError: it cannot be read, or a row is malformed; the message says which.
    """
    shown = display_uri(uri)
    read = _READERS.get(os.path.splitext(uri)[1].lower())
    if read is None:
        raise SourceError(f"{shown} is not a table: its name ends in none of {', '.join(SUFFIXES)}")
    try:
        with open_range(uri, storage) as source, io.BufferedReader(source) as file:
            yield from read(file)
    except EmptyFileError:
        return
    except OpenError as error:
        raise SourceError(f"{shown} cannot be read: {error}") from None
    except _Malformed as error:
        raise SourceError(f"{shown}{error}") from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{shown} is not UTF-8: {error}") from None
    except pa.ArrowException as error:
        raise SourceError(f"{shown} is not a readable Parquet file: {error}") from None


class _Malformed(Exception):
    """The rest of a sentence that begins with the file's name."""


def _csv_rows(file: IO[bytes]) -> _Rows:
    reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
    number = 0
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) < len(header):
            raise _Malformed(f" names a column twice: {', '.join(header)}")
        for cells in reader:
            if not cells:
                continue
            number += 1
            if len(cells) != len(header):
                raise _Malformed(
                    f", row {number} (line {reader.line_num}): {len(cells)} cells, but the "
                    f"header names {len(header)} columns"
                )
            yield f"row {number}", dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise _Malformed(f", line {reader.line_num}: {error}") from None


def _jsonl_rows(file: IO[bytes]) -> _Rows:
    for number, line in enumerate(io.TextIOWrapper(file, encoding="utf-8-sig"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _Malformed(f", line {number}: malformed JSON ({error})") from None
        if not isinstance(row, dict):
            raise _Malformed(f", line {number}: not a JSON object but {line.strip()[:40]!r}")
        yield f"line {number}", row


def _txt_rows(file: IO[bytes]) -> _Rows:
    for number, line in enumerate(io.TextIOWrapper(file, encoding="utf-8-sig"), start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield f"line {number}", {"uri": text}


def _parquet_rows(file: IO[bytes]) -> _Rows:
    number = 0
    for batch in pq.ParquetFile(file).iter_batches(batch_size=_BATCH_ROWS):
        for row in batch.to_pylist():
            number += 1
            yield f"row {number}", row


_READERS = {
    ".csv": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".parquet": _parquet_rows,
    ".txt": _txt_rows,
}

SUFFIXES = tuple(_READERS)
