"""Arrow schemas of the tables, and the rows that fill them.

Partition keys (``recipe``, ``run_id``) stand in the path only, Hive style, so a file
never repeats them::

    OUT/captions/recipe=R/run_id=ID/*.parquet     CAPTIONS
    OUT/fused/task=T/run_id=ID/*.parquet          CAPTIONS
    OUT/failures/recipe=R/run_id=ID/*.parquet     FAILURES

The key of a caption is (video_id, recipe, level, index).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa

from schemas.structured import ARROW_TYPE

Level = Literal["video", "clip", "frame"]
CaptionStatus = Literal["ok", "truncated", "invalid"]

_TIME = pa.timestamp("us", tz="UTC")

CAPTIONS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("level", pa.string(), nullable=False),
        pa.field("index", pa.int32(), nullable=False),
        pa.field("start_sec", pa.float64()),
        pa.field("end_sec", pa.float64()),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("structured", pa.string()),
        pa.field("structured_fields", ARROW_TYPE),
        pa.field("caption_status", pa.string(), nullable=False),
        pa.field("status_reason", pa.string()),
        pa.field("details", pa.string()),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("output_tokens", pa.int32()),
        pa.field("duration_sec", pa.float64()),
        pa.field("fps", pa.float64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("num_frames", pa.int32()),
        pa.field("has_audio", pa.bool_()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_revision", pa.string()),
        pa.field("prompt_hash", pa.string(), nullable=False),
        pa.field("metadata", pa.string()),
        pa.field("source_version", pa.string()),
        pa.field("created_at", _TIME, nullable=False),
    ]
)

FAILURES = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("transient", pa.bool_(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("metadata", pa.string()),
        pa.field("source_version", pa.string()),
        pa.field("created_at", _TIME, nullable=False),
    ]
)

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
    """One row of ``captions``. Times in seconds of the video; sizes in pixels.

    Attributes:
        video_id, uri: which input.
        level, index: which part of the video; ("video", 0) for the whole.
        caption: the text; for a structured recipe the answer as it came.
        structured: the answer as canonical JSON, None unless the recipe makes one.
        structured_fields: the same as a nested value, see ``schemas.structured``.
        caption_status: "ok"; "truncated" where the answer was cut off; "invalid" where
            every attempt broke a rule, with the rule in ``status_reason``.
        details: JSON object of what else a recipe tells about the row, None without any.
        attempts: how often the engine was asked.
        prompt_hash: first 16 hex digits of the SHA-256 of the prompt template.
        metadata: JSON object of the manifest's other columns, None without any.
        source_version: which content of the input this is about, None where unknown;
            see ``rayjob.inputs.listing``.
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
    created_at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, kw_only=True)
class FailureRow:
    """One row of ``failures``.

    Attributes:
        stage: "open", "decode", "caption" or "write".
        error: class name in :mod:`schemas.errors`, or the name of an unforeseen exception.
        message: a sentence a person understands.
        transient: whether the next run tries again by itself.
        attempts: how often processing was started, over all runs on this content.
        source_version: as of a :class:`CaptionRow`.
    """

    video_id: str
    uri: str
    stage: str
    error: str
    message: str
    transient: bool
    attempts: int
    metadata: str | None
    source_version: str | None = None
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
