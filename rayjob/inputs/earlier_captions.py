"""What a fusion job works on: a video's earlier captions, from tables of this job or a CSV.

A video's caption rows always stand in one shard, so shards are read one by one and memory is
bounded by the largest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from rayjob.inputs.manifests import Input, read_manifest
from rayjob.output.layout import ResultTables
from rayjob.output.store import TableStore
from schemas.errors import SourceError, UnusableMaterialError
from schemas.media import StorageOptions, VideoInfo
from schemas.recipe import Video

CSV_COLUMN = "structural_caption"
"""Where SkyCaptioner's scripts put what their model wrote."""

_FACTS = ("duration_sec", "fps", "width", "height", "has_audio")
_ROW = ("level", "index", "start_sec", "end_sec", "caption", "structured", "caption_status")
_COLUMNS = ["video_id", "uri", "metadata", "source_version", *_ROW, *_FACTS]


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """A caption that is to be fused; see :class:`schemas.tables.CaptionRow`."""

    level: str
    index: int
    start_sec: float | None
    end_sec: float | None
    caption: str
    structured: str | None
    caption_status: str


@dataclass(frozen=True, kw_only=True)
class Material:
    """The captions of one video.

    Attributes:
        info: facts about the video's file, None where they are not known.
    """

    rows: tuple[SourceRow, ...]
    info: VideoInfo | None

    @classmethod
    def read(cls, video: Video) -> Material:
        """The material that an input carries."""
        assert video.material is not None
        document = json.loads(video.material)
        facts = document["info"]
        return cls(
            rows=tuple(SourceRow(**row) for row in document["rows"]),
            info=None if facts is None else VideoInfo(has_video=bool(facts["width"]), **facts),
        )

    def to_json(self) -> str:
        """As an input carries it."""
        info = None if self.info is None else {name: getattr(self.info, name) for name in _FACTS}
        return json.dumps({"info": info, "rows": [asdict(row) for row in self.rows]})

    def video_caption(self) -> SourceRow:
        """The caption of the whole video.

        Raises:
            UnusableMaterialError: there is none.
        """
        for row in self.rows:
            if row.level == "video":
                return row
        raise UnusableMaterialError("there is no caption of the whole video")


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
    folder = ResultTables.of_recipe(recipe).captions
    found = False
    for entry in store.list(folder, suffix=".parquet"):
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
    """One input per video of a shard, rows in the order of their times."""
    by_video: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        by_video.setdefault(row["video_id"], []).append(row)
    for video_id, rows in by_video.items():
        rows.sort(key=lambda row: (row["start_sec"] or 0.0, row["level"], row["index"]))
        first = rows[0]
        info = None
        if first["duration_sec"] is not None:
            info = VideoInfo(
                has_video=bool(first["width"]), **{name: first[name] for name in _FACTS}
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
        )
