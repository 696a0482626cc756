"""Inputs by columns: listed as tables, without a Python object for each row where it can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from actors.storage.uris import display_uri
from rayjob.inputs.manifests import Input, inputs_of, read_manifest
from rayjob.inputs.rows import URI_COLUMNS, iter_texts
from schemas.blocks import INPUTS
from schemas.media import StorageOptions

LISTED = pa.schema(
    [*(field for field in INPUTS if field.name != "attempts"), pa.field("in_manifest", pa.bool_())]
)
"""Inputs, and whether each was a row of a manifest."""

Listed: TypeAlias = "Input | pa.Table"
"""An input, or many of them as a table of :data:`LISTED`."""

_PLAIN_URI = r"^(s3://[a-z0-9._-]{1,255})?(/[\w=+,-][\w=+,.-]*)+$"
_PLAIN_ID = r"^[\w=+,./-]+$"
"""What :mod:`rayjob.inputs.manifests` takes over as it is."""


def read_columns(uri: str, storage: StorageOptions) -> Iterator[Listed]:
    """As :func:`rayjob.inputs.manifests.read_manifest`; Parquet rows of nothing but plain addresses
    and ids come as tables.
    """
    number = 0
    folder = display_uri(uri).rpartition("/")[0] + "/"
    for batch in iter_texts(uri, storage, only=frozenset(URI_COLUMNS) | {"video_id"}):
        table = _plain(batch, folder)
        if table is not None:
            yield table
        else:
            for at, row in enumerate(batch.to_pylist(), start=number + 1):
                yield from inputs_of(row, manifest=uri, where=f"row {at}")
        number += batch.num_rows
    if not number:
        yield from read_manifest(uri, storage)


def _plain(batch: pa.RecordBatch, folder: str) -> pa.Table | None:
    """The inputs of a batch; None where its rows have to be looked at one by one."""
    columns = {name.strip().lower(): batch.column(name) for name in batch.schema.names}
    ids = columns.pop("video_id", None)
    if len(columns) != 1:
        return None
    (uris,) = columns.values()
    if not _all_match(uris, _PLAIN_URI):
        return None
    if ids is None:
        ids = pc.if_else(
            pc.starts_with(uris, folder),
            pc.utf8_slice_codeunits(uris, len(folder)),
            pc.replace_substring_regex(uris, "^(s3:/)?/", ""),
        )
    elif not _all_match(ids, _PLAIN_ID):
        return None
    nothing = pa.nulls(len(uris), pa.string())
    known = [ids, uris, nothing, nothing, nothing, pa.repeat(True, len(uris))]
    return pa.table(known, names=LISTED.names).cast(LISTED)


def _all_match(texts: pa.Array, pattern: str) -> bool:
    is_match = pc.fill_null(pc.match_substring_regex(texts, pattern), False)
    return bool(pc.all(is_match).as_py())


def table_of(inputs: Sequence[Input]) -> pa.Table:
    """Inputs as a table of :data:`LISTED`."""
    return pa.table(
        [
            [each.video_id for each in inputs],
            [each.uri for each in inputs],
            [each.metadata for each in inputs],
            [each.source_version for each in inputs],
            [each.material for each in inputs],
            [each.row is not None for each in inputs],
        ],
        schema=LISTED,
    )
