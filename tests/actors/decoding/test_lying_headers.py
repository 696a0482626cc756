"""Headers whose clocks lie: an error or a warning, never silence."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from schemas.errors import CorruptMediaError, MediaLimitError
from tests.actors.decoding.test_decoder import load
from tests.actors.decoding.test_decoder_broken import box, write
from tests.support.media import render


@pytest.mark.parametrize("edited", ["0", "1"])
def test_a_time_scale_that_lies(tmp_path: Path, edited: str) -> None:
    path = render(tmp_path / "a.mp4", count=100, container_options={"use_editlist": edited})
    data = bytearray(path.read_bytes())
    at = box(b"mdhd", at=0, data=bytes(data)) + 12
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path = write(tmp_path, bytes(data))
    try:
        video = load(path, num_frames=8)
    except (CorruptMediaError, MediaLimitError) as error:
        assert "header" in str(error)
    else:
        # The edit list cuts the picture off after four seconds of the wrong scale.
        assert edited == "1"
        assert any("time scale" in warning for warning in video.warnings)


@pytest.mark.parametrize(
    ("kind", "at", "value", "told"),
    [
        (b"mdhd", 12, 25, "the file lasts 4.0 s, its picture 20 s"),
        (b"mdhd", 12, 500, "the header counts 100 frames and shows 4"),
        (b"mdhd", 12, 2**31 - 1, "the header crowds 100 frames into"),
        (b"mvhd", 12, 1_000_000, "the header counts 100 frames and shows 1"),
        (b"stts", 12, 1, "the header crowds 100 frames into"),
        (b"stts", 12, 0, "timed by their neighbours"),
    ],
)
def test_a_clock_that_lies_is_told(
    tmp_path: Path, kind: bytes, at: int, value: int, told: str
) -> None:
    data = bytearray(render(tmp_path / "a.mp4", count=100).read_bytes())
    struct.pack_into(">I", data, box(kind, at=0, data=bytes(data)) + at, value)
    path = write(tmp_path, bytes(data))
    try:
        said = load(path, num_frames=8).warnings
    except CorruptMediaError as error:
        said = (str(error),)
    assert any(told in sentence for sentence in said), said
