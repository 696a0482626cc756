"""Inputs by columns: listed as tables, without a Python object for each row where it can be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from actors.storage.uris import display_uri
from rayjob.inputs.manifests import Input, inputs_of, metadata_json, read_manifest
from rayjob.inputs.rows import URI_COLUMNS, iter_columns
from rayjob.inputs.spans import LISTS, PAIRS
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


_PLAIN_TYPES = {pa.string(), pa.large_string(), pa.bool_(), pa.int32(), pa.int64(), pa.float64()}
_NOT_PLAIN = {"version", *itertools.chain(LISTS, *PAIRS)}
"""Columns that mean more than they say."""


def read_columns(uri: str, storage: StorageOptions) -> Iterator[Listed]:
    """As :func:`rayjob.inputs.manifests.read_manifest`; Parquet rows of plain addresses and ids,
    and whatever numbers and texts stand beside them, come as tables.
    """
    number, manifest = 0, display_uri(uri)
    folder = manifest.rpartition("/")[0] + "/"
    for batch in iter_columns(uri, storage, wanted=_is_plain):
        table = _plain(batch, folder)
        if table is not None:
            yield table
        else:
            for at, row in enumerate(batch.to_pylist(), start=number + 1):
                yield from inputs_of(row, manifest=manifest, where=f"row {at}")
        number += batch.num_rows
    if not number:
        yield from read_manifest(uri, storage)


def _is_plain(schema: pa.Schema) -> bool:
    names = [name.strip().lower() for name in schema.names]
    texts = {
        name
        for name, kind in zip(names, schema.types, strict=True)
        if kind in (pa.string(), pa.large_string())
    }
    return (
        _PLAIN_TYPES.issuperset(schema.types)
        and len({*names}) == len(names)
        and len({*URI_COLUMNS} & {*names}) == len({*URI_COLUMNS} & texts) == 1
        and _NOT_PLAIN.isdisjoint(names)
        and ("video_id" in texts or "video_id" not in names)
    )


def _plain(batch: pa.RecordBatch, folder: str) -> pa.Table | None:
    """The inputs of a batch; None where its rows have to be looked at one by one."""
    columns = {name.strip().lower(): name for name in batch.schema.names}
    uris = batch.column(next(columns.pop(name) for name in URI_COLUMNS if name in columns))
    if not _all_match(uris, _PLAIN_URI):
        return None
    if "video_id" not in columns:
        ids = pc.if_else(
            pc.starts_with(uris, folder),
            pc.utf8_slice_codeunits(uris, len(folder)),
            pc.replace_substring_regex(uris, "^(s3:/)?/", ""),
        )
    else:
        ids = batch.column(columns.pop("video_id"))
        if not _all_match(ids, _PLAIN_ID):
            return None
    nothing = pa.nulls(len(uris), pa.string())
    metadata = nothing
    if columns:
        others = batch.select([*columns.values()]).to_pylist()
        metadata = pa.array(map(metadata_json, others), pa.string())
    known = [ids, uris, metadata, nothing, nothing, pa.repeat(True, len(uris))]
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
