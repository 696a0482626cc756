"""What a fusion job works on: a video's earlier captions, from tables of this job or a CSV.

A video's caption rows always stand in one shard, so shards are read one by one and memory is
bounded by the largest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import pyarrow as pa

from actors.storage.segments import segment_begin
from rayjob.inputs.manifests import Input, read_manifest
from rayjob.output.commits import shards
from rayjob.output.layout import ResultTables
from rayjob.output.store import TableStore
from rayjob.recipes.material import FACTS, Material, SourceRow
from schemas.errors import SourceError
from schemas.media import StorageOptions, VideoInfo

CSV_COLUMN = "structural_caption"
"""Where SkyCaptioner's scripts put what their model wrote."""

_ROW = [field.name for field in fields(SourceRow)]
_COLUMNS = ["video_id", "uri", "metadata", "source_version", *_ROW, *FACTS]


def iter_material(
    inputs: Sequence[str], *, recipe: str, storage: StorageOptions
) -> Iterator[Input]:
    """List videos with their captions, input by input.

    Args:
        inputs: output folders of captioning jobs, or CSV files of SkyCaptioner.
        recipe: whose captions.

    Raises:
        SourceError: there are no such captions, or a table cannot be read.
    """
    for place in inputs:
        if place.lower().endswith(".csv"):
            is_local = "://" not in place
            where = os.path.abspath(os.path.expanduser(place)) if is_local else place
            yield from _from_csv(where, storage)
        else:
            yield from _from_tables(TableStore(place, storage), recipe)


def _from_tables(store: TableStore, recipe: str) -> Iterator[Input]:
    folder = ResultTables.named(recipe).captions
    found = False
    for entry in shards(store, folder):
        found = True
        try:
            with store.open_parquet(entry.path, size=entry.size) as file:
                lacking = set(_COLUMNS) - set(file.schema_arrow.names)
                if lacking:
                    raise SourceError(
                        f"{store.url_of(entry.path)} is not a shard of captions: it lacks the "
                        f"columns {', '.join(sorted(lacking))}"
                    )
                table = file.read(columns=_COLUMNS)
        except pa.ArrowException as error:
            raise SourceError(
                f"{store.url_of(entry.path)} is not a shard of captions: {error}"
            ) from error
        yield from _videos(table)
    if not found:
        raise SourceError(
            f"{store.url} holds no captions of the recipe {recipe}: run python -m rayjob.caption "
            f"--recipe {recipe} first, or name another with --source-recipe"
        )


def _videos(table: pa.Table) -> Iterator[Input]:
    """One input per video of a shard, rows in the order of their times, which count from the begin
    of a segment as a recipe sees it.
    """
    by_video: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        by_video.setdefault(row["video_id"], []).append(row)
    for video_id, rows in by_video.items():
        rows.sort(key=lambda row: (row["start_sec"] or 0.0, row["level"], row["index"]))
        first = rows[0]
        begin = segment_begin(first["uri"])
        for row in rows if begin else ():
            for name in ("start_sec", "end_sec"):
                row[name] = None if row[name] is None else row[name] - begin
        info = None
        if first["duration_sec"] is not None:
            info = VideoInfo(
                has_video=bool(first["width"]), **{name: first[name] for name in FACTS}
            )
        material = Material(
            rows=tuple(SourceRow(**{name: row[name] for name in _ROW}) for row in rows), info=info
        )
        yield Input(
            video_id=video_id,
            uri=first["uri"],
            metadata=first["metadata"],
            source_version=first["source_version"],
            material=material.to_json(),
        )


def _from_csv(place: str, storage: StorageOptions) -> Iterator[Input]:
    for line in read_manifest(place, storage):
        columns = json.loads(line.metadata) if line.metadata else {}
        if CSV_COLUMN not in columns:
            raise SourceError(
                f"{place} has no column {CSV_COLUMN!r}, which holds the structured captions"
            )
        text = columns.pop(CSV_COLUMN)
        row = SourceRow(
            level="video",
            index=0,
            start_sec=None,
            end_sec=None,
            caption="" if text is None else str(text),
            structured=None,
            caption_status="ok",
        )
        yield Input(
            video_id=line.video_id,
            uri=line.uri,
            metadata=json.dumps(columns, sort_keys=True) if columns else None,
            source_version=line.source_version,
            material=Material(rows=(row,), info=None).to_json(),
            row=line.row,
        )
