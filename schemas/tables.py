"""Arrow schemas of the tables, and the rows that fill them.

Partition keys (``recipe``, ``run_id``) stand in the path only, Hive style, so a file
never repeats them; NAME is the captioning's name, by default its recipe's::

    OUT/captions/recipe=NAME/run_id=ID/*.parquet     CAPTIONS
    OUT/fused/task=NAME/run_id=ID/*.parquet          CAPTIONS
    OUT/failures/recipe=NAME/run_id=ID/*.parquet     FAILURES

The key of a caption is (video_id, recipe, level, index). docs/tables.md has the whole contract.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from schemas.structured import ARROW_TYPE

Level = Literal["video", "clip", "frame"]
CaptionStatus = Literal["ok", "truncated", "invalid"]


class Column(NamedTuple):
    """A column of a table; what it means is told here, and by docs/tables.md from here."""

    name: str
    type: pa.DataType
    meaning: str
    required: bool = False


_METADATA = Column("metadata", pa.string(), "JSON object of the manifest's other columns")
_SOURCE_VERSION = Column(
    "source_version",
    pa.string(),
    "which content of the input this is about: the ETag on S3, `SIZE-MTIME` of a local file, or "
    "the manifest's column `version`; null where unknown",
)
_SETTINGS_HASH = Column(
    "settings_hash",
    pa.string(),
    "16 hex digits that stand for all that decides a caption: recipe, model, prompts, sampling "
    "plan, generation, options, rules; null in tables of versions that did not record it",
)
_CREATED_AT = Column(
    "created_at", pa.timestamp("us", tz="UTC"), "when the row was made", required=True
)

CAPTION_COLUMNS = (
    Column("video_id", pa.string(), "which input; part of the key", required=True),
    Column(
        "uri",
        pa.string(),
        "where its bytes were read, without signatures or passwords",
        required=True,
    ),
    Column(
        "level",
        pa.string(),
        "which kind of part: `video`, `clip` or `frame`; part of the key",
        required=True,
    ),
    Column(
        "index",
        pa.int32(),
        "which part, from 0; 0 for the whole video; part of the key",
        required=True,
    ),
    Column("start_sec", pa.float64(), "begin of the part, in seconds of the video"),
    Column("end_sec", pa.float64(), "end of the part, in seconds of the video"),
    Column(
        "caption",
        pa.string(),
        "the text; of a structured recipe the answer as it came",
        required=True,
    ),
    Column(
        "structured", pa.string(), "the answer as canonical JSON; null unless the recipe makes one"
    ),
    Column("structured_fields", ARROW_TYPE, "the same as nested fields (see structured.md)"),
    Column(
        "caption_status",
        pa.string(),
        "`ok`; `truncated` where the answer was cut off; `invalid` where every attempt broke a "
        "rule",
        required=True,
    ),
    Column("status_reason", pa.string(), "the rule that was broken; null for `ok`"),
    Column("details", pa.string(), "JSON object of what else a recipe tells about the row"),
    Column("attempts", pa.int32(), "how often the engine was asked", required=True),
    Column("prompt_tokens", pa.int32(), "tokens read, media included, over all attempts"),
    Column("output_tokens", pa.int32(), "tokens written, over all attempts"),
    Column("duration_sec", pa.float64(), "length of the video in seconds"),
    Column("fps", pa.float64(), "frames per second of the video"),
    Column("width", pa.int32(), "of the video as shown, in pixels"),
    Column("height", pa.int32(), "of the video as shown, in pixels"),
    Column("num_frames", pa.int32(), "frames that the model saw; null where it saw text"),
    Column("has_audio", pa.bool_(), "whether the video has sound"),
    Column("model", pa.string(), "checkpoint folder or hub name", required=True),
    Column(
        "model_revision", pa.string(), "the configured revision; of a folder, a hash of its files"
    ),
    Column(
        "prompt_hash",
        pa.string(),
        "first 16 hex digits of the SHA-256 of system message and prompts",
        required=True,
    ),
    _METADATA,
    _SOURCE_VERSION,
    _SETTINGS_HASH,
    _CREATED_AT,
)

FAILURE_COLUMNS = (
    Column("video_id", pa.string(), "which input", required=True),
    Column(
        "uri", pa.string(), "where its bytes are, without signatures or passwords", required=True
    ),
    Column(
        "stage",
        pa.string(),
        "where it failed: `open`, `decode`, `caption` or `write`",
        required=True,
    ),
    Column(
        "error",
        pa.string(),
        "class of the error (`schemas/errors.py`), or the name of one that nobody foresaw",
        required=True,
    ),
    Column("message", pa.string(), "a sentence for a person", required=True),
    Column("transient", pa.bool_(), "whether the next run tries again by itself", required=True),
    Column(
        "attempts",
        pa.int32(),
        "how often processing was started, over all runs on this content",
        required=True,
    ),
    _METADATA,
    _SOURCE_VERSION,
    _SETTINGS_HASH,
    _CREATED_AT,
)


def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    return pa.schema([pa.field(each.name, each.type, not each.required) for each in columns])


CAPTIONS = _schema(CAPTION_COLUMNS)
FAILURES = _schema(FAILURE_COLUMNS)

RESULTS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("captions", pa.list_(pa.struct(list(CAPTIONS))), nullable=False),
        pa.field("failures", pa.list_(pa.struct(list(FAILURES))), nullable=False),
    ]
)
"""What the caption stage hands to the driver: one row per video, so that all rows of a
video reach the tables together or not at all."""


def utc_now() -> datetime:
    """The current time, as ``created_at`` stores it."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class CaptionRow:
    """One row of ``captions``; :data:`CAPTION_COLUMNS` tells what the columns mean. The writer of
    the tables fills in ``settings_hash``.
    """

    video_id: str
    uri: str
    level: Level
    index: int
    start_sec: float | None
    end_sec: float | None
    caption: str
    structured: str | None = None
    structured_fields: dict[str, Any] | None = None
    caption_status: CaptionStatus
    status_reason: str | None = None
    details: str | None = None
    attempts: int
    prompt_tokens: int | None
    output_tokens: int | None
    duration_sec: float | None
    fps: float | None
    width: int | None
    height: int | None
    num_frames: int | None
    has_audio: bool | None
    model: str
    model_revision: str | None
    prompt_hash: str
    metadata: str | None
    source_version: str | None = None
    settings_hash: str | None = None
    created_at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, kw_only=True)
class FailureRow:
    """One row of ``failures``; as :data:`FAILURE_COLUMNS`, ``settings_hash`` by the writer."""

    video_id: str
    uri: str
    stage: str
    error: str
    message: str
    transient: bool
    attempts: int
    metadata: str | None
    source_version: str | None = None
    settings_hash: str | None = None
    created_at: datetime = field(default_factory=utc_now)


def results_table(
    video_id: str, *, captions: Sequence[CaptionRow] = (), failures: Sequence[FailureRow] = ()
) -> pa.Table:
    """One row of :data:`RESULTS`."""
    return pa.Table.from_pylist(
        [
            {
                "video_id": video_id,
                "captions": [dataclasses.asdict(row) for row in captions],
                "failures": [dataclasses.asdict(row) for row in failures],
            }
        ],
        schema=RESULTS,
    )


def captions_of(results: pa.Table) -> pa.Table:
    """The caption rows inside a table of :data:`RESULTS`, as a :data:`CAPTIONS` table."""
    return _flatten(results, "captions", CAPTIONS)


def failures_of(results: pa.Table) -> pa.Table:
    """The failure rows inside a table of :data:`RESULTS`, as a :data:`FAILURES` table."""
    return _flatten(results, "failures", FAILURES)


def _flatten(results: pa.Table, column: str, schema: pa.Schema) -> pa.Table:
    structs = results.column(column).combine_chunks().flatten()
    return pa.Table.from_struct_array(structs).cast(schema)
