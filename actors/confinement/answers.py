"""What the decoding process says: which bytes of the file it needs, and in the end a row of
``schemas.blocks.VIDEO``, a clip as the bytes of an MP4 file, or an error.

All that it says is a kind, a length, and that many bytes. The process may be in the hands of a
hostile file, so its parent takes nothing on trust: a length is compared with what the plan and the
limits allow before memory is set aside for it, ranges lie within the file, and a row is checked
before it goes on.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

import schemas.errors
from actors.confinement.layers import LAYERS
from actors.storage.range_reader import MAX_REQUEST_BYTES
from schemas.blocks import VIDEO, video_of
from schemas.errors import DecoderFaultError, RayjobError, VideoError
from schemas.media import (
    LONGEST_WARNING,
    MOST_WARNINGS,
    DecodedVideo,
    DecodeLimits,
    SamplingPlan,
    VideoInfo,
)

HEADER = struct.Struct("<cQ")
READY, ROW, CLIP, ERROR, BYTES = b"+", b"R", b"C", b"E", b"B"
DATA, NO_DATA = b"D", b"N"
"""What the parent says to BYTES: that the range is in the shared window, or cannot be had. As many
bytes as it announces lie at the window's start; nothing follows in the pipe."""

SPAN = struct.Struct("<QQ")
"""A range: its first byte and the one after its last."""

READY_BYTES = 4 << 10
"""Room for what READY says: which layers of confinement are not on, and why, as JSON."""

_MESSAGE, _TRACE = 2048, 6144
"""Characters of an error's texts at most."""

ERROR_BYTES = 4096 + 12 * (_MESSAGE + _TRACE + MOST_WARNINGS * LONGEST_WARNING)
"""Longest error, as JSON, in which a character takes up to 12 bytes."""

FRAME_BYTES = 1 << 10
"""Room for a frame's time, and for what makes a tiny one larger as JPEG than as pixels."""

TEXT_BYTES = 1 << 20
"""Room for all that a row holds beside picture and sound."""

_ERRORS: dict[str, type[RayjobError]] = {
    name: kind
    for name, kind in vars(schemas.errors).items()
    if isinstance(kind, type) and issubclass(kind, (VideoError, DecoderFaultError))
}
_INFO = TypeAdapter(VideoInfo)
_LAYERS = TypeAdapter(dict[str, str])
_WARNINGS = TypeAdapter(list[str] | None)


def send(answers: BinaryIO, kind: bytes, payload: bytes = b"") -> None:
    """Write what is not a row."""
    answers.write(HEADER.pack(kind, len(payload)) + payload)
    answers.flush()


def send_error(
    answers: BinaryIO,
    error: str,
    message: str,
    *,
    trace: str = "",
    warnings: Sequence[str] | None = None,
) -> None:
    """Write the error that ended a request.

    Args:
        error: name of a class of ``schemas.errors``.
        trace: where it came from, if nobody foresaw it.
        warnings: of a ``VideoError``.
    """
    answer = {
        "error": error,
        "message": message[:_MESSAGE],
        "trace": trace[-_TRACE:],
        "warnings": warnings,
    }
    send(answers, ERROR, json.dumps(answer).encode())


def send_row(answers: BinaryIO, row: pa.RecordBatch) -> None:
    """Write a row, straight from the memory of its arrays."""
    measure = pa.MockOutputStream()
    _write_stream(measure, row)
    answers.write(HEADER.pack(ROW, measure.size()))
    _write_stream(answers, row)
    answers.flush()


def _write_stream(sink: Any, row: pa.RecordBatch) -> None:
    with pa.ipc.new_stream(sink, row.schema) as writer:
        writer.write_batch(row)


def most_bytes(plan: SamplingPlan, limits: DecodeLimits) -> int:
    """How long a row can be: what the plan asks for, and no more than its process may hold."""
    frames = plan.num_frames or math.ceil((plan.fps or 0.0) * limits.max_duration_sec) + 1
    picture = frames * (3 * _most_pixels(plan) + FRAME_BYTES)
    sound = 4 * math.ceil((plan.audio_rate or 0) * limits.max_duration_sec)
    return min(picture + sound + TEXT_BYTES, limits.memory_mb << 20)


def _most_pixels(plan: SamplingPlan) -> int:
    return plan.max_pixels if plan.stretch_to is None else math.prod(plan.stretch_to)


def most_read(file_bytes: int) -> int:
    """How many bytes may be asked for of a file: far more than any way to decode it needs, and
    not without end.
    """
    return 8 * file_bytes + (256 << 20)


def checked_span(payload: pa.Buffer, file_bytes: int) -> tuple[int, int]:
    """Return the range that is asked for.

    Raises:
        DecoderFaultError: it is not one of the file, or larger than a reader asks for.
    """
    if payload.size != SPAN.size:
        raise DecoderFaultError(f"the decoding process asks for a range in {payload.size} bytes")
    start, stop = SPAN.unpack(payload)
    if not (0 <= start < stop <= file_bytes and stop - start <= MAX_REQUEST_BYTES):
        raise DecoderFaultError(
            f"the decoding process asks for bytes {start} to {stop} of {file_bytes}"
        )
    return start, stop


def checked_layers(payload: pa.Buffer) -> dict[str, str]:
    """Return, for each layer of confinement, "" where it is on, else why it is not.

    Raises:
        DecoderFaultError: it does not say so.
    """
    try:
        told = _LAYERS.validate_json(payload.to_pybytes(), strict=True)
    except ValueError as problem:
        raise _nonsense(problem) from None
    return {name: told.get(name, "not tried") for name in LAYERS}


def checked_error(payload: pa.Buffer) -> RayjobError:
    """Return the error that an answer speaks of, with its warnings, and its trace as a note.

    Raises:
        DecoderFaultError: the answer is not an error.
    """
    try:
        answer = json.loads(payload.to_pybytes())
        # Half of a surrogate pair, which JSON can spell, is no text for a table.
        json.dumps(answer, ensure_ascii=False).encode()
        name, message, trace = (str(answer[key]) for key in ("error", "message", "trace"))
        warnings = _WARNINGS.validate_python(answer["warnings"], strict=True)
        error = _ERRORS[name](message)
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        raise _nonsense(problem) from None
    if isinstance(error, VideoError):
        error.warnings = warnings
    if trace:
        error.add_note(trace)
    return error


def checked_row(payload: pa.Buffer, plan: SamplingPlan) -> pa.RecordBatch:
    """Return one row of ``schemas.blocks.VIDEO``: views of ``payload``.

    Raises:
        DecoderFaultError: it is not such a row, or not one that ``plan`` can have led to.
    """
    try:
        stream = pa.ipc.MessageReader.open_stream(payload)
        # The schema is ours, not the sender's: a schema can name extension types, and those that
        # other libraries have registered may unpickle what it holds.
        stream.read_next_message()
        message = stream.read_next_message()
        if message.type != "record batch" or _asks_for_unpacking(message.metadata):
            raise ValueError("not a plain record batch")
        row = pa.ipc.read_record_batch(message, VIDEO)
        row.validate(full=True)
        if row.num_rows != 1:
            raise ValueError(f"{row.num_rows} rows")
        missing = [
            name
            for name in VIDEO.names
            if name not in ("frame_offsets", "audio") and row[name].null_count
        ]
        if missing:
            raise ValueError(f"nothing in {', '.join(missing)}")
        _INFO.validate_json(row["info"][0].as_py(), strict=True)
        _check(video_of(row), plan, height=row["height"][0].as_py(), width=row["width"][0].as_py())
    except (pa.ArrowException, OSError, StopIteration, ValueError, TypeError) as error:
        raise _nonsense(error) from None
    return row


def checked_clip(payload: pa.Buffer) -> bytes:
    """Return the bytes of an MP4 file. Whether it plays is for those to find out who open it, as of
    any file of strangers.

    Raises:
        DecoderFaultError: it does not begin as one.
    """
    clip: bytes = payload.to_pybytes()
    if clip[4:8] != b"ftyp":
        raise _nonsense(ValueError("a clip that is not MP4"))
    return clip


def _nonsense(problem: Exception) -> DecoderFaultError:
    return DecoderFaultError(f"the decoding process answers nonsense: {problem!r}"[:500])


def _check(clip: DecodedVideo, plan: SamplingPlan, *, height: int, width: int) -> None:
    info, times, count = clip.info, clip.timestamps, clip.num_frames
    if not (math.isfinite(info.duration_sec) and math.isfinite(info.fps)):
        raise ValueError("a length or a rate that is not finite")
    if plan.num_frames is not None and count > plan.num_frames:
        raise ValueError(f"{count} frames where the plan wants {plan.num_frames}")
    if None in clip.warnings:
        raise ValueError("a warning without a text")
    if not (np.all(np.isfinite(times)) and np.all(np.diff(times) > 0)):
        raise ValueError("times that do not increase")
    if clip.pack is not None:
        offsets = clip.pack.offsets
        if len(offsets) != count + 1 or offsets[0] != 0 or offsets[-1] != len(clip.pack.data):
            raise ValueError("images that do not fill their pack")
        if not np.all(np.diff(offsets) > 0):
            raise ValueError("images that overlap")
    elif count and not 0 < height * width <= _most_pixels(plan):
        raise ValueError(f"frames of {width} x {height} pixels")
    elif len(clip.frames) != count:
        raise ValueError(f"{len(clip.frames)} frames and {count} times")
    if clip.audio_rate != (0 if clip.audio is None else plan.audio_rate):
        raise ValueError(f"sound at {clip.audio_rate} Hz")
    if clip.audio is not None and not (
        len(clip.audio) and clip.audio.min() >= -1.0 and clip.audio.max() <= 1.0
    ):
        raise ValueError("sound beyond full scale")


def _asks_for_unpacking(metadata: memoryview) -> bool:
    """Whether a record batch says that it is compressed, and how large it will be.

    Arrow sets aside what it says there before it looks. In the message's flatbuffer (Arrow's
    ``Message.fbs``, checked by Arrow before) the header is field 2 of ``Message``, compression
    field 3 of ``RecordBatch``.
    """

    def number(at: int, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(metadata[at : at + size], "little", signed=signed)

    def field(table: int, index: int) -> int:
        entries = table - number(table, 4, signed=True)
        at = 4 + 2 * index
        offset = number(entries + at, 2) if at < number(entries, 2) else 0
        return table + offset if offset else 0

    header = field(number(0, 4), 2)
    return field(header + number(header, 4), 3) != 0
