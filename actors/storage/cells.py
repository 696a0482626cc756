"""Videos in the cells of Parquet tables: ``parquet://COLUMN/ROW::s3://bucket/a.parquet``.

A cell is a binary value, or what the Hugging Face hub stores: a struct of ``bytes`` and ``path``.
Values are stored in compressed pages, so a cell is not a range of the file: it is read whole, with
what its row group holds of the column before it.
"""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.storage.range_reader import RangeReader
from schemas.errors import EmptyFileError, NotFoundError, OpenError

VIDEO_COLUMNS = ("video", "mp4", "webm", "bytes", "content")
"""Names of binary columns that are taken for videos."""

_BUFFER = 1 << 20


def is_struct(kind: pa.DataType) -> bool:
    """Whether a column is what the hub stores of a video: ``bytes`` and ``path``."""
    return pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}


def is_binary(name: str, kind: pa.DataType) -> bool:
    """Whether a column holds videos as plain binary values."""
    is_bytes: bool = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return is_bytes and name.strip().lower() in VIDEO_COLUMNS


def cell_of(reader: RangeReader, name: str, shown: str) -> bytes:
    """The bytes of a cell.

    Args:
        reader: the table.
        name: ``COLUMN/ROW``, the row counted from 0.
        shown: its address, for messages.

    Raises:
        NotFoundError: there is no such cell, or no bytes in it.
        EmptyFileError: they are none.
        OpenError: the table cannot be read.
    """
    column, _, row = name.rpartition("/")
    try:
        table = pq.ParquetFile(
            io.BufferedReader(reader, _BUFFER), buffer_size=_BUFFER, pre_buffer=False
        )
        index = table.schema_arrow.get_field_index(column)
        if index < 0 or not row.isdecimal() or int(row) >= table.metadata.num_rows:
            raise NotFoundError(f"there is no {shown}")
        leaf = f"{column}.bytes" if is_struct(table.schema_arrow.field(index).type) else column
        value = _value(table, leaf, int(row))
    except pa.ArrowException as error:
        raise OpenError(f"{shown} cannot be read: {error}") from None
    if isinstance(value, dict):
        value = value["bytes"]
    if not isinstance(value, bytes):
        raise NotFoundError(f"there are no bytes at {shown}")
    if not value:
        raise EmptyFileError(f"{shown} is empty")
    return value


def _value(table: pq.ParquetFile, leaf: str, row: int) -> Any:
    group = 0
    while row >= table.metadata.row_group(group).num_rows:
        row -= table.metadata.row_group(group).num_rows
        group += 1
    batches = table.iter_batches(batch_size=1, row_groups=[group], columns=[leaf])
    for number, batch in enumerate(batches):
        if number == row:
            return batch.column(0)[0].as_py()
    return None
