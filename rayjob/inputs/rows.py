"""Rows of tables that users bring: .csv, .tsv, .json (an array), .jsonl, .ndjson, .parquet, or .txt
with a uri per line. Those of text may be compressed (.csv.gz, .jsonl.zst).

Files are read as a stream: a few megabytes at a time, on S3 by range requests.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from actors.storage.access import open_range
from actors.storage.cells import is_binary, is_struct
from actors.storage.uris import display_uri
from schemas.errors import EmptyFileError, OpenError, SourceError
from schemas.media import StorageOptions

_BATCH_ROWS = 1024
_MANY_ROWS = 1 << 14

_LONGEST = 64 << 20
"""Characters of a line, a cell or an element at most."""

_CHUNK = 1 << 20
"""Characters of a JSON array that are read at once."""

_VALUE = re.compile(r"[^\s,]")

# Python's own limit is 131,072 characters; long captions are cells too.
csv.field_size_limit(_LONGEST)

URI_COLUMNS = ("uri", "path", "video", "url", "video_path")
"""Columns that hold addresses, of which the first counts that is there."""

Row = dict[str, Any]
"""The cells of a row by column."""

_File: TypeAlias = "io.BufferedReader[Any] | gzip.GzipFile"
_Rows = Iterator[tuple[str, Row]]


def iter_rows(uri: str, storage: StorageOptions) -> _Rows:
    """Read the rows of a table, in its order. Blank lines are not rows.

    Args:
        uri: where it is; the end of its name says what it is.
        storage: how to reach S3.

    Yields:
        where the row stands ("row 3", "line 3"), and the row. Cells of a .csv file are str; a
        .txt file has the column ``uri``. Of videos in cells (:mod:`actors.storage.cells`) the
        bytes are left out: the cell is a dictionary, with their address as ``bytes``, None where
        there are none, and the hub's ``path``.

    Raises:
        SourceError: it cannot be read, or a row is malformed; the message says which.
    """
    shown = display_uri(uri)
    suffix = next((each for each in SUFFIXES if shown.lower().endswith(each)), None)
    if suffix is None:
        raise SourceError(f"{shown} is not a table: its name ends in none of {', '.join(SUFFIXES)}")
    with _explained(shown), open_range(uri, storage) as source, io.BufferedReader(source) as file:
        yield from _parquet_rows(file, uri) if suffix == _PARQUET else _READERS[suffix](file)


def iter_columns(
    uri: str, storage: StorageOptions, *, wanted: Callable[[pa.Schema], bool]
) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet table, many at a time; nothing of any other table.

    Args:
        wanted: says of its columns whether it is to be read.

    Raises:
        SourceError: as :func:`iter_rows`.
    """
    shown = display_uri(uri)
    if not shown.lower().endswith(_PARQUET):
        return
    with _explained(shown), open_range(uri, storage) as source, io.BufferedReader(source) as file:
        table = pq.ParquetFile(file)
        if wanted(table.schema_arrow):
            yield from table.iter_batches(batch_size=_MANY_ROWS)


@contextlib.contextmanager
def _explained(shown: str) -> Iterator[None]:
    """Errors of reading as SourceError; an empty file has no rows."""
    try:
        yield
    except EmptyFileError:
        return
    except OpenError as error:
        raise SourceError(f"{shown} cannot be read: {error}") from None
    except _Malformed as error:
        raise SourceError(f"{shown}{error}") from None
    except UnicodeError as error:
        raise SourceError(f"{shown} is not UTF-8: {error}") from None
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise SourceError(f"{shown} is not a readable gzip file: {error}") from None
    except pa.ArrowException as error:
        raise SourceError(f"{shown} is not a readable Parquet file: {error}") from None


class _Malformed(Exception):
    """The rest of a sentence that begins with the file's name."""


def _text(file: _File) -> io.TextIOWrapper:
    """UTF-8, or UTF-16 as spreadsheets write it, without the mark of the byte order."""
    is_utf16 = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return io.TextIOWrapper(file, encoding="utf-16" if is_utf16 else "utf-8-sig", newline="")


def _lines(file: _File) -> Iterator[str]:
    """The lines, with their ends."""
    text = _text(file)
    for number in itertools.count(1):
        line = text.readline(_LONGEST)
        if not line:
            return
        if len(line) == _LONGEST:
            raise _Malformed(f", line {number}: longer than {_LONGEST} characters")
        yield line


def _csv_rows(file: _File, *, delimiter: str = ",") -> _Rows:
    reader = csv.reader(_lines(file), delimiter=delimiter, strict=True)
    number = 0
    try:
        header = [name.strip() for name in next(reader, [])]
        # Spreadsheets fill up every line with commas, as far as any cell was ever used.
        while header and not header[-1]:
            header.pop()
        if len(set(header)) < len(header):
            raise _Malformed(f" names a column twice: {', '.join(header)}")
        for cells in reader:
            if not any(map(str.strip, cells)):
                continue
            number += 1
            if not any(map(str.strip, cells[len(header) :])):
                del cells[len(header) :]
            if len(cells) != len(header):
                raise _Malformed(
                    f", row {number} (line {reader.line_num}): {len(cells)} cells, but the "
                    f"header names {len(header)} columns"
                )
            yield f"row {number}", dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise _Malformed(f", line {reader.line_num}: {error}") from None


def _jsonl_rows(file: _File) -> _Rows:
    for number, line in enumerate(_lines(file), start=1):
        # Where files were joined, a mark of the byte order stands before any line.
        text = line.strip("\ufeff \t\r\n")
        if not text:
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _Malformed(f", line {number}: malformed JSON ({error})") from None
        if not isinstance(row, dict):
            raise _Malformed(f", line {number}: not a JSON object but {text[:40]!r}")
        yield f"line {number}", row


def _json_rows(file: _File) -> _Rows:
    """The elements of an array: objects, or texts that are uris."""
    text, decode = _text(file), json.JSONDecoder().raw_decode
    waiting = text.read(_CHUNK).lstrip()
    if waiting and not waiting.startswith("["):
        raise _Malformed(
            f" is not a JSON array; it begins with {waiting[:40]!r}. A file with an object on each "
            "line is named .jsonl"
        )
    at = 1
    for number in itertools.count(1):
        while waiting:
            begin = _VALUE.search(waiting, at)
            at = begin.start() if begin else len(waiting)
            if waiting.startswith("]", at):
                return
            try:
                row, at = decode(waiting, at)
                break
            except (ValueError, RecursionError) as error:
                # It may be cut off here.
                more = text.read(max(_CHUNK, len(waiting) - at))
                if not more or len(waiting) - at > _LONGEST:
                    problem = f"malformed JSON ({error})"
                    raise _Malformed(f", element {number}: {problem}") from None
                waiting, at = waiting[at:] + more, 0
        row = {"uri": row} if isinstance(row, str) else row
        if not isinstance(row, dict):
            raise _Malformed(f", element {number}: not a JSON object but {row!r:.40}")
        yield f"element {number}", row


def _txt_rows(file: _File) -> _Rows:
    for number, line in enumerate(_lines(file), start=1):
        uri = line.rstrip("\r\n")
        if uri.strip() and not uri.lstrip().startswith("#"):
            yield f"line {number}", {"uri": uri}


def _parquet_rows(file: _File, uri: str) -> _Rows:
    plain = pq.ParquetFile(file)
    bytes_of = _videos(plain.schema_arrow)
    read = [each for each in _leaves(plain) if each not in bytes_of.values()]
    # As dictionaries: a value that is repeated is in memory once, however often it is.
    texts = [each for each in _leaves(plain, of_type="BYTE_ARRAY") if each in read]
    table = pq.ParquetFile(file, read_dictionary=texts)
    number = 0
    for group in range(table.num_row_groups):
        held = {name: _held(table, group, leaf) for name, leaf in bytes_of.items()}
        for inner, cells in enumerate(_cells_of(table, group, read)):
            for name, is_held in held.items():
                place = f"parquet://{name}/{number}::{uri}" if is_held[inner] else None
                cells[name] = {**(cells.get(name) or {}), "bytes": place}
            number += 1
            yield f"row {number}", cells


def _cells_of(table: pq.ParquetFile, group: int, leaves: list[str]) -> Iterator[Row]:
    """The rows of a row group, with some of their cells."""
    if not leaves:
        yield from ({} for _ in range(table.metadata.row_group(group).num_rows))
        return
    for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=leaves, row_groups=[group]):
        names = batch.schema.names
        for cells in zip(*map(_cells, batch.columns), strict=True):
            yield dict(zip(names, cells, strict=True))


def _held(table: pq.ParquetFile, group: int, leaf: str) -> npt.NDArray[np.bool_]:
    """Which cells of a row group hold bytes, which are read only where nothing else tells."""
    of_group = table.metadata.row_group(group)
    rows, column = of_group.num_rows, _leaves(table).index(leaf)
    statistics = of_group.column(column).statistics
    nulls = statistics.null_count if statistics is not None and statistics.has_null_count else None
    if nulls in (0, rows):
        return np.full(rows, nulls == 0)
    batches = table.iter_batches(batch_size=1, columns=[leaf], row_groups=[group])
    column_name, _, inner = leaf.rpartition(".")
    return np.array(
        [
            (batch.column(0).field("bytes") if inner and column_name else batch.column(0))[
                0
            ].is_valid
            for batch in batches
        ]
    )


def _videos(schema: pa.Schema) -> dict[str, str]:
    """Columns that hold videos, and where their bytes are: the hub's, and where no column has
    addresses plain binary ones.
    """
    structs = {field.name: f"{field.name}.bytes" for field in schema if is_struct(field.type)}
    binary = {field.name: field.name for field in schema if is_binary(field.name, field.type)}
    others = {field.name.strip().lower() for field in schema if field.name not in binary}
    return structs if others & set(URI_COLUMNS) else {**structs, **binary}


def has_videos(uri: str, storage: StorageOptions) -> bool:
    """Whether a Parquet file has a column of videos; False for what is not a Parquet file.

    Raises:
        OpenError: the storage fails.
    """
    try:
        with open_range(uri, storage) as source, io.BufferedReader(source) as file:
            schema = pq.ParquetFile(file).schema_arrow
    except (pa.ArrowException, EmptyFileError):
        return False
    return bool(_videos(schema))


def _leaves(table: pq.ParquetFile, *, of_type: str = "") -> list[str]:
    """Paths of the columns that hold values, all or those of a physical type."""
    columns = map(table.schema.column, range(len(table.schema)))
    return [each.path for each in columns if of_type in each.physical_type]


def _cells(column: pa.Array) -> Iterable[Any]:
    """The values of a column. Those that may be large are made one by one, or once for all cells
    that hold them.
    """
    if pa.types.is_nested(column.type):
        return map(_cell, column)
    if pa.types.is_dictionary(column.type):
        used = column.indices.unique()
        values = dict(zip(used.to_pylist(), _cells(column.dictionary.take(used)), strict=True))
        return map(values.__getitem__, column.indices.to_pylist())
    try:
        cells: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):
        return map(_cell, column)
    return cells


def _cell(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError):  # a time that Python has no name for
        return value.cast(pa.string()).as_py()


def _gzipped(read: Callable[[_File], _Rows], file: _File) -> _Rows:
    with gzip.GzipFile(fileobj=file) as plain:
        yield from read(plain)


def _zstandard(read: Callable[[_File], _Rows], file: _File) -> _Rows:
    try:
        with pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd") as plain:
            yield from read(io.BufferedReader(plain))
    except OSError as error:
        raise _Malformed(f" is not a readable zstd file: {error}") from None


_TEXTS: dict[str, Callable[[_File], _Rows]] = {
    ".csv": _csv_rows,
    ".tsv": partial(_csv_rows, delimiter="\t"),
    ".json": _json_rows,
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".txt": _txt_rows,
}

_PARQUET = ".parquet"

_READERS: dict[str, Callable[[_File], _Rows]] = {
    **_TEXTS,
    **{f"{suffix}.gz": partial(_gzipped, read) for suffix, read in _TEXTS.items()},
    **{f"{suffix}.zst": partial(_zstandard, read) for suffix, read in _TEXTS.items()},
}

SUFFIXES = (*_READERS, _PARQUET)
"""Ends of names that say that a file is a table."""
