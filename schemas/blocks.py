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

from schemas.media import Clip, FramePack, VideoInfo
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

DECODED = pa.schema(
    [
        *INPUTS,
        pa.field("info", pa.string()),
        pa.field("frames", pa.large_binary()),
        pa.field("frame_offsets", pa.list_(pa.int64())),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("timestamps", pa.list_(pa.float64())),
        pa.field("audio", pa.large_binary()),
        pa.field("audio_rate", pa.int32()),
        pa.field("warnings", pa.list_(pa.string())),
        pa.field("failure", pa.struct(list(FAILURES))),
    ]
)
"""A decoded video (``info``), or the failure to decode it (``failure``), or neither where there
is nothing to decode. ``frames`` holds raw pixels, or where ``frame_offsets`` are given the
images of a :class:`schemas.media.FramePack`."""


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


def decoded_table(row: dict[str, Any], outcome: Clip | FailureRow) -> pa.Table:
    """One row of :data:`DECODED`. ``row`` holds the columns of :data:`INPUTS`."""
    columns: dict[str, Any] = {name: row[name] for name in INPUTS.names}
    if isinstance(outcome, FailureRow):
        columns["failure"] = asdict(outcome)
    else:
        frames = np.ascontiguousarray(outcome.frames)
        columns |= {
            "info": json.dumps(asdict(outcome.info)),
            "height": frames.shape[1],
            "width": frames.shape[2],
            "timestamps": outcome.timestamps.tolist(),
            "audio_rate": outcome.audio_rate,
            "warnings": list(outcome.warnings),
        }
        if outcome.pack is not None:
            columns["frame_offsets"] = outcome.pack.offsets.tolist()
    arrays = []
    for field in DECODED:
        if field.name == "frames" and isinstance(outcome, Clip):
            pixels = outcome.frames if outcome.pack is None else outcome.pack.data
            arrays.append(_binary(np.ascontiguousarray(pixels)))
        elif field.name == "audio" and isinstance(outcome, Clip) and outcome.audio is not None:
            arrays.append(_binary(np.ascontiguousarray(outcome.audio)))
        else:
            arrays.append(pa.array([columns.get(field.name)], type=field.type))
    return pa.Table.from_arrays(arrays, schema=DECODED)


def undecoded_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows of :data:`DECODED` for inputs that need no decoding."""
    return pa.Table.from_pylist(
        [{name: row[name] for name in INPUTS.names} for row in rows], schema=DECODED
    )


def clip_of(table: pa.Table, row: int) -> Clip:
    """The clip in a row of :data:`DECODED`; its arrays are read-only views of the table."""
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
    return Clip(
        info=info,
        frames=frames,
        timestamps=timestamps,
        audio=_view(audio, np.dtype(np.float32)) if audio.is_valid else None,
        audio_rate=table["audio_rate"][row].as_py(),
        warnings=tuple(table["warnings"][row].as_py()),
        pack=pack,
    )


def _binary(array: np.ndarray[Any, Any]) -> pa.Array:
    """A one-element binary column over the memory of a contiguous array, without a copy."""
    return _one_value(pa.py_buffer(array.reshape(-1).view(np.uint8)))


def _one_value(buffer: pa.Buffer) -> pa.Array:
    offsets = np.array([0, buffer.size], dtype=np.int64)
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, pa.py_buffer(offsets), buffer])


def _view(scalar: pa.Scalar, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    return cast("np.ndarray[Any, Any]", np.frombuffer(scalar.as_buffer(), dtype=dtype))
