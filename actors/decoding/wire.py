"""How requests and clips travel between a decoding process and its parent.

One message is a length, a JSON header, and raw array bytes: no pickling, so nothing that a
hostile file does to the child can run in the parent, and arrays are copied once, by the
kernel.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.media import Clip, FramePack, VideoInfo

Reader = Callable[[memoryview], int]
"""Fill a buffer in part; return how many bytes, 0 at the end of the stream."""

_LENGTH = struct.Struct("<Q")


def write_message(
    descriptor: int, header: dict[str, Any], arrays: Sequence[npt.NDArray[Any]] = ()
) -> None:
    """Write one message to a pipe; blocks while the pipe is full."""
    text = json.dumps(header).encode()
    _write(descriptor, memoryview(_LENGTH.pack(len(text)) + text))
    for array in arrays:
        if array.size:
            _write(descriptor, _bytes_of(np.ascontiguousarray(array)))


def read_header(read: Reader) -> dict[str, Any] | None:
    """Read a message's header, or None at the end of the stream."""
    length = bytearray(_LENGTH.size)
    if not fill(read, memoryview(length)):
        return None
    text = bytearray(_LENGTH.unpack(length)[0])
    if not fill(read, memoryview(text)):
        return None
    header: dict[str, Any] = json.loads(text)
    return header


def fill(read: Reader, buffer: memoryview) -> bool:
    """Fill a buffer; False if the stream ends first."""
    at = 0
    while at < len(buffer):
        count = read(buffer[at:])
        if count == 0:
            return False
        at += count
    return True


def send_clip(descriptor: int, clip: Clip) -> None:
    """Write a clip as one message."""
    arrays: list[npt.NDArray[Any]] = [clip.frames, clip.timestamps]
    if clip.audio is not None:
        arrays.append(clip.audio)
    if clip.pack is not None:
        arrays += [clip.pack.data, clip.pack.offsets]
    header = {
        "kind": "clip",
        "info": dataclasses.asdict(clip.info),
        "frames": clip.frames.shape,
        "times": len(clip.timestamps),
        "pack": None if clip.pack is None else [len(clip.pack.data), len(clip.pack.offsets)],
        "audio": None if clip.audio is None else len(clip.audio),
        "audio_rate": clip.audio_rate,
        "warnings": clip.warnings,
    }
    write_message(descriptor, header, arrays)


def receive_clip(read: Reader, header: dict[str, Any]) -> Clip | None:
    """Read the rest of a clip's message, or None if the stream ends first."""
    frames = np.empty(header["frames"], dtype=np.uint8)
    timestamps = np.empty(header["times"], dtype=np.float64)
    audio = None if header["audio"] is None else np.empty(header["audio"], dtype=np.float32)
    pack = None
    if header["pack"] is not None:
        size, count = header["pack"]
        pack = FramePack(data=np.empty(size, np.uint8), offsets=np.empty(count, np.int64))
    packed = () if pack is None else (pack.data, pack.offsets)
    for array in (frames, timestamps, audio, *packed):
        if array is not None and array.size and not fill(read, _bytes_of(array)):
            return None
    return Clip(
        info=VideoInfo(**header["info"]),
        frames=frames,
        timestamps=timestamps,
        audio=audio,
        audio_rate=header["audio_rate"],
        warnings=tuple(header["warnings"]),
        pack=pack,
    )


def _bytes_of(array: npt.NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
