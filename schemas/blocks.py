"""The Arrow form of a decoded video on its way from a decode actor to an engine.

Frames and sound are plain binary columns: Ray keeps them in shared memory and the
engine's process reads them without a copy, where Python objects would be pickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import pyarrow as pa

from schemas.frame_pack import FramePack
from schemas.media import DecodedVideo, VideoInfo
from schemas.tables import FAILURES, FailureRow

INPUTS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("metadata", pa.string()),
        pa.field("source_version", pa.string()),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("material", pa.string()),
    ]
)
"""What a run is to do: one row per video; ``attempts`` counts those of earlier runs. ``material``
is null where the video itself is the input, else a JSON document (see
``rayjob.inputs.earlier_captions``)."""

VIDEO = pa.schema(
    [
        pa.field("info", pa.string()),
        pa.field("frames", pa.large_binary()),
        pa.field("frame_offsets", pa.list_(pa.int64())),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("timestamps", pa.list_(pa.float64())),
        pa.field("audio", pa.large_binary()),
        pa.field("audio_rate", pa.int32()),
        pa.field("warnings", pa.list_(pa.string())),
    ]
)
"""A :class:`schemas.media.DecodedVideo`. ``info`` is JSON; ``frames`` holds raw pixels, or where
``frame_offsets`` are given the images of a :class:`schemas.media.FramePack`."""

DECODED = pa.schema([*INPUTS, *VIDEO, pa.field("failure", pa.struct(list(FAILURES)))])
"""A decoded video (the columns of :data:`VIDEO`), or the failure to decode it (``failure``), or
neither where there is nothing to decode."""

PACKED = pa.schema([pa.field("table", pa.large_binary(), nullable=False)])
"""Whole tables, each as one binary value (Arrow IPC): what a task of the graph hands on is one
row, and so one block. Ray Data takes a block or two of a task at a time, ten times a second; a
task with a block for each of its videos would mostly wait."""


def packed(table: pa.Table) -> pa.Table:
    """One row of :data:`PACKED`."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.Table.from_arrays([_one_value(sink.getvalue())], schema=PACKED)


def unpacked(batch: pa.Table) -> Iterator[pa.Table]:
    """The tables inside :data:`PACKED`; views of its memory, without a copy."""
    for value in batch.column("table"):
        with pa.ipc.open_stream(value.as_buffer()) as reader:
            yield reader.read_all()


def video_row(video: DecodedVideo) -> pa.RecordBatch:
    """One row of :data:`VIDEO`, over the memory of its own arrays."""
    columns = {
        "info": json.dumps(asdict(video.info)),
        "frames": video.frames if video.pack is None else video.pack.data,
        "frame_offsets": None if video.pack is None else video.pack.offsets.tolist(),
        "height": video.frames.shape[1],
        "width": video.frames.shape[2],
        "timestamps": video.timestamps.tolist(),
        "audio": video.audio,
        "audio_rate": video.audio_rate,
        "warnings": list(video.warnings),
    }
    return pa.RecordBatch.from_arrays(
        [
            _binary(value) if isinstance(value, np.ndarray) else pa.array([value], type=kind)
            for value, kind in zip(columns.values(), VIDEO.types, strict=True)
        ],
        schema=VIDEO,
    )


def decoded_table(row: dict[str, Any], outcome: pa.RecordBatch | FailureRow) -> pa.Table:
    """One row of :data:`DECODED`.

    Args:
        row: the columns of :data:`INPUTS`.
        outcome: one row of :data:`VIDEO`, taken over without a copy, or why there is none.
    """
    columns: dict[str, Any] = {name: row[name] for name in INPUTS.names}
    if isinstance(outcome, FailureRow):
        return pa.Table.from_pylist([columns | {"failure": asdict(outcome)}], schema=DECODED)
    table = pa.Table.from_pylist([columns], schema=DECODED)
    for field in VIDEO:
        at = table.schema.get_field_index(field.name)
        table = table.set_column(at, field, outcome.column(field.name))
    return table


def undecoded_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows of :data:`DECODED` for inputs that need no decoding."""
    return pa.Table.from_pylist(
        [{name: row[name] for name in INPUTS.names} for row in rows], schema=DECODED
    )


def video_of(table: pa.Table | pa.RecordBatch, row: int = 0) -> DecodedVideo:
    """The video in a row of :data:`VIDEO` or :data:`DECODED`; its arrays are read-only views."""
    info = VideoInfo(**json.loads(table["info"][row].as_py()))
    shape = (-1, table["height"][row].as_py(), table["width"][row].as_py(), 3)
    pixels = _view(table["frames"][row], np.dtype(np.uint8))
    timestamps = np.asarray(table["timestamps"][row].as_py(), dtype=np.float64)
    offsets = table["frame_offsets"][row].as_py()
    pack = None
    if offsets is not None:
        pack = FramePack(data=pixels, offsets=np.asarray(offsets, dtype=np.int64))
    raw = len(timestamps) > 0 and pack is None
    frames = pixels.reshape(shape) if raw else np.zeros((0, 0, 0, 3), np.uint8)
    audio = table["audio"][row]
    return DecodedVideo(
        info=info,
        frames=frames,
        timestamps=timestamps,
        audio=_view(audio, np.dtype(np.float32)) if audio.is_valid else None,
        audio_rate=table["audio_rate"][row].as_py(),
        warnings=tuple(table["warnings"][row].as_py()),
        pack=pack,
    )


def _binary(array: np.ndarray[Any, Any]) -> pa.Array:
    """A one-element binary column over the memory of an array, copied only if it has gaps."""
    return _one_value(pa.py_buffer(np.ascontiguousarray(array).reshape(-1).view(np.uint8)))


def _one_value(buffer: pa.Buffer) -> pa.Array:
    offsets = np.array([0, buffer.size], dtype=np.int64)
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, pa.py_buffer(offsets), buffer])


def _view(scalar: pa.Scalar, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    return cast("np.ndarray[Any, Any]", np.frombuffer(scalar.as_buffer(), dtype=dtype))
