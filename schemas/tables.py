"""Arrow schemas of the tables, and the rows that fill them.

Partition keys (``recipe``, ``run_id``) stand in the path only, Hive style, so a file
never repeats them; NAME is the captioning's name, by default its recipe's::

    OUT/captions/recipe=NAME/run_id=ID/*.parquet     CAPTIONS
    OUT/fused/task=NAME/run_id=ID/*.parquet          CAPTIONS
    OUT/segments/split=NAME/run_id=ID/*.parquet      SEGMENTS
    OUT/failures/recipe=NAME/run_id=ID/*.parquet     FAILURES

The key of a caption is (video_id, recipe, level, index), that of a segment (video_id, split,
index). docs/tables.md has the whole contract.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import pyarrow as pa

from schemas.structured import ARROW_TYPE, arrow_type

Level = Literal["video", "clip", "frame"]
CaptionStatus = Literal["ok", "truncated", "invalid"]


class Column(NamedTuple):
    """A column of a table; its meaning is for docs/tables.md."""

    name: str
    type: pa.DataType
    nullable: bool
    meaning: str


_METADATA = "JSON object of the manifest's other columns"
_SOURCE_VERSION = (
    "which content of the input this is about: the ETag on S3, `SIZE-MTIME` of a local file, or "
    "the manifest's column `version`; null where unknown"
)
_URI = "where its bytes are, without signatures and passwords; of a segment with `#t=BEGIN,END`"
_SEGMENT_START = (
    "begin of the segment that the input is, in seconds of the video; null for a whole file"
)
_SEGMENT_END = (
    "its end as it was asked for; null for a whole file, and where the segment goes on to the end"
)
_SETTINGS_HASH = (
    "16 hex digits that stand for all that decides a caption: recipe, model, prompts, sampling "
    "plan, generation, options, rules; null where it was not recorded"
)
_WARNINGS = (
    "what was wrong with the file but could be worked around, one sentence each; null where that "
    "is not known"
)
_CREATED_AT = "when the row was made"


def utc_now() -> datetime:
    """The current time, as ``created_at`` stores it."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class CaptionRow:
    """One row of ``captions``: columns, types and meanings. The writer of the tables fills in
    ``settings_hash``.
    """

    video_id: Annotated[str, "which input; part of the key"]
    uri: Annotated[
        str, "where its bytes are, without signatures and passwords; of a segment with its span"
    ]
    level: Annotated[Level, "which kind of part: `video`, `clip` or `frame`; part of the key"]
    index: Annotated[int, "which part, from 0; 0 for the whole video; part of the key"]
    start_sec: Annotated[float | None, "begin of the part, in seconds of the video"]
    end_sec: Annotated[float | None, "end of the part, in seconds of the video"]
    caption: Annotated[str, "the text; of a structured recipe the answer as it came"]
    structured: Annotated[
        str | None, "the answer as canonical JSON; null unless the recipe makes one"
    ] = None
    structured_fields: Annotated[dict[str, Any] | None, "the same as nested fields"] = None
    caption_status: Annotated[
        CaptionStatus,
        "`ok`; `truncated` if the answer was cut off; `invalid` if every attempt broke a rule",
    ]
    status_reason: Annotated[str | None, "the rule that was broken; null for `ok`"] = None
    details: Annotated[str | None, "JSON object of what else a recipe tells about the row"] = None
    attempts: Annotated[int, "how often the engine was asked"]
    prompt_tokens: Annotated[int | None, "tokens read, media included, over all attempts"]
    output_tokens: Annotated[int | None, "tokens written, over all attempts"]
    reasoning_tokens: Annotated[
        int | None, "of these, tokens of thinking, which `engine.reasoning_parser` keeps apart"
    ] = None
    reasoning: Annotated[
        str | None, "what the model thought before it answered, with `recipe.keep_reasoning`"
    ] = None
    duration_sec: Annotated[float | None, "length of the video, or of the segment, in seconds"]
    fps: Annotated[float | None, "frames per second of the video"]
    width: Annotated[int | None, "of the video as shown, in pixels"]
    height: Annotated[int | None, "of the video as shown, in pixels"]
    num_frames: Annotated[int | None, "frames that the model saw; null where it saw text"]
    has_audio: Annotated[bool | None, "whether the video has sound"]
    model: Annotated[str, "checkpoint folder or hub name"]
    model_revision: Annotated[
        str | None, "the configured revision; of a folder, a hash of its files"
    ]
    prompt_hash: Annotated[str, "first 16 hex digits of the SHA-256 of system message and prompts"]
    metadata: Annotated[str | None, _METADATA]
    source_version: Annotated[str | None, _SOURCE_VERSION] = None
    settings_hash: Annotated[str | None, _SETTINGS_HASH] = None
    warnings: Annotated[list[str] | None, _WARNINGS] = None
    segment_start_sec: Annotated[float | None, _SEGMENT_START] = None
    segment_end_sec: Annotated[float | None, _SEGMENT_END] = None
    sample: Annotated[
        int | None,
        "which of several answers, from 0; part of the key; null where one was asked for",
    ] = None
    created_at: Annotated[datetime, _CREATED_AT] = field(default_factory=utc_now)


@dataclass(frozen=True, kw_only=True)
class FailureRow:
    """One row of ``failures``, as :class:`CaptionRow`."""

    video_id: Annotated[str, "which input"]
    uri: Annotated[
        str, "where its bytes are, without signatures and passwords; of a segment with its span"
    ]
    stage: Annotated[str, "where it failed: `open`, `decode`, `caption` or `write`"]
    error: Annotated[
        str, "class of the error (`schemas/errors.py`), or the name of one that nobody foresaw"
    ]
    message: Annotated[str, "a sentence for a person"]
    cause: Annotated[
        str | None, "which kind of cause, see reliability.md; null where it was not recorded"
    ] = None
    transient: Annotated[bool, "whether the next run tries again by itself"]
    attempts: Annotated[int, "how often processing was started, over all runs on this content"]
    metadata: Annotated[str | None, _METADATA]
    source_version: Annotated[str | None, _SOURCE_VERSION] = None
    settings_hash: Annotated[str | None, _SETTINGS_HASH] = None
    warnings: Annotated[list[str] | None, _WARNINGS] = None
    segment_start_sec: Annotated[float | None, _SEGMENT_START] = None
    segment_end_sec: Annotated[float | None, _SEGMENT_END] = None
    created_at: Annotated[datetime, _CREATED_AT] = field(default_factory=utc_now)


@dataclass(frozen=True, kw_only=True)
class SegmentRow:
    """One row of ``segments``, as :class:`CaptionRow`. Brightness goes from 0 to 1; what is
    measured on frames is the mean over those sampled.
    """

    video_id: Annotated[str, "which input; part of the key"]
    uri: Annotated[str, "where the file's bytes are, without signatures and passwords"]
    index: Annotated[int, "which segment of the input, from 0; part of the key"]
    start_sec: Annotated[float, "time of its first frame, in seconds of the video"]
    end_sec: Annotated[float, "time of the first frame that is not in it, or the video's end"]
    cut_score: Annotated[
        float | None,
        "mean difference of its first frame from the one before, from 0 to 1, or at a fade of the "
        "scenes on both sides; null where no cut begins it",
    ] = None
    motion: Annotated[
        float | None, "speed of the picture's content, in widths of the picture per second"
    ] = None
    sharpness: Annotated[
        float | None, "standard deviation of the brightness's Laplacian, of small frames"
    ] = None
    luminance: Annotated[float | None, "mean brightness, from 0 to 1"] = None
    black: Annotated[float | None, "share of its frames that are black"] = None
    still: Annotated[float | None, "share of its time in which nothing moves"] = None
    text_area: Annotated[
        float | None,
        "share of the picture that lines of text cover, mean of three frames; null without the "
        "extra `split-text`",
    ] = None
    audio_rms: Annotated[
        float | None, "root mean square of its sound, of full scale 1; null without sound"
    ] = None
    speech_share: Annotated[
        float | None,
        "share of its time in which somebody speaks; null without sound or the extra "
        "`split-speech`",
    ] = None
    phash: Annotated[
        str | None,
        "perceptual hashes of three of its frames, 16 hex digits each; null where one is flat",
    ] = None
    duplicate_of: Annotated[
        str | None, "the segment of another video that it shows again, as `VIDEO#t=BEGIN,END`"
    ] = None
    kept: Annotated[bool, "whether it is an input of `rayjob caption`"] = True
    reason: Annotated[str | None, "why it is not kept; null where it is"] = None
    duration_sec: Annotated[float | None, "length of the video, in seconds"]
    metadata: Annotated[str | None, _METADATA]
    source_version: Annotated[str | None, _SOURCE_VERSION] = None
    settings_hash: Annotated[
        str | None, "16 hex digits that stand for all that decides the cuts, scores and filters"
    ] = None
    warnings: Annotated[list[str] | None, _WARNINGS] = None
    created_at: Annotated[datetime, _CREATED_AT] = field(default_factory=utc_now)


Row = CaptionRow | FailureRow | SegmentRow


def columns_of(row: type[Row]) -> Iterator[Column]:
    """The columns of a table, in order."""
    for name, hint in get_type_hints(row, include_extras=True).items():
        kind, meaning = get_args(hint)
        column = ARROW_TYPE if name == "structured_fields" else arrow_type(kind)
        yield Column(name, column, type(None) in get_args(kind), meaning)


def _schema(row: type[Row]) -> pa.Schema:
    return pa.schema([pa.field(each.name, each.type, each.nullable) for each in columns_of(row)])


CAPTIONS = _schema(CaptionRow)
FAILURES = _schema(FailureRow)
SEGMENTS = _schema(SegmentRow)


def _results(name: str, rows: pa.Schema) -> pa.Schema:
    return pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field(name, pa.list_(pa.struct(list(rows))), nullable=False),
            pa.field("failures", pa.list_(pa.struct(list(FAILURES))), nullable=False),
        ]
    )


RESULTS = _results("captions", CAPTIONS)
"""What the caption stage hands to the driver: one row per video, so that all rows of a
video reach the tables together or not at all."""

SPLITS = _results("segments", SEGMENTS)
"""What the split stage hands to the driver, as :data:`RESULTS`."""


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


def splits_table(
    video_id: str, *, segments: Sequence[SegmentRow] = (), failures: Sequence[FailureRow] = ()
) -> pa.Table:
    """One row of :data:`SPLITS`."""
    rows = {name: [dataclasses.asdict(row) for row in given]
            for name, given in (("segments", segments), ("failures", failures))}  # fmt: skip
    return pa.Table.from_pylist([{"video_id": video_id, **rows}], schema=SPLITS)


def schema_of(results: pa.Table) -> pa.Schema:
    """Which of :data:`RESULTS` and :data:`SPLITS` a table is."""
    return SPLITS if "segments" in results.schema.names else RESULTS


def rows_of(results: pa.Table) -> pa.Table:
    """The rows inside a table of :data:`RESULTS` or :data:`SPLITS` but for the failures, as a
    :data:`CAPTIONS` or a :data:`SEGMENTS` table.
    """
    if schema_of(results) is SPLITS:
        return _flatten(results, "segments", SEGMENTS)
    return captions_of(results)


def captions_of(results: pa.Table) -> pa.Table:
    """The caption rows inside a table of :data:`RESULTS`, as a :data:`CAPTIONS` table."""
    return _flatten(results, "captions", CAPTIONS)


def failures_of(results: pa.Table) -> pa.Table:
    """The failure rows inside a table of :data:`RESULTS`, as a :data:`FAILURES` table."""
    return _flatten(results, "failures", FAILURES)


def _flatten(results: pa.Table, column: str, schema: pa.Schema) -> pa.Table:
    structs = results.column(column).combine_chunks().flatten()
    return pa.Table.from_struct_array(structs).cast(schema)
