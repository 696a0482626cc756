"""Nothing that a decoding process announces is believed."""

from __future__ import annotations

import dataclasses
import io
import json
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from actors.confinement.answers import (
    ERROR_BYTES,
    HEADER,
    checked_error,
    checked_row,
    most_bytes,
    send_error,
    send_row,
)
from schemas.blocks import VIDEO, video_of, video_row
from schemas.errors import DecoderFaultError, OpenError
from schemas.frame_pack import FramePacker
from schemas.media import (
    LONGEST_WARNING,
    MOST_WARNINGS,
    DecodedVideo,
    DecodeLimits,
    SamplingPlan,
    VideoInfo,
)

PLAN = SamplingPlan(num_frames=3, max_pixels=1000, audio_rate=16_000)
FRAMES = np.random.default_rng(0).integers(0, 255, (3, 20, 30, 3), dtype=np.uint8)
SOUND = np.linspace(-1, 1, 800, dtype=np.float32)
INFO = VideoInfo(duration_sec=2.0, fps=25.0, width=30, height=20, has_video=True, has_audio=True)
CLIP_MADE = DecodedVideo(
    info=INFO,
    frames=FRAMES,
    timestamps=np.array([0.0, 1.0, 2.0]),
    audio=SOUND,
    audio_rate=16_000,
    warnings=("odd",),
)


def packed_clip() -> DecodedVideo:
    packer = FramePacker()
    for frame in FRAMES:
        packer.add(frame)
    empty = np.empty((0, 0, 0, 3), np.uint8)
    return dataclasses.replace(CLIP_MADE, frames=empty, pack=packer.pack())


def sent(row: pa.RecordBatch) -> pa.Buffer:
    pipe = io.BytesIO()
    send_row(pipe, row)
    kind, size = HEADER.unpack(pipe.getvalue()[: HEADER.size])
    assert kind == b"R"
    assert size == len(pipe.getvalue()) - HEADER.size
    return pa.py_buffer(pipe.getvalue()[HEADER.size :])


def with_column(name: str, value: Any, made: DecodedVideo = CLIP_MADE) -> pa.RecordBatch:
    row = video_row(made)
    field = VIDEO.field(name)
    return row.set_column(VIDEO.get_field_index(name), field, pa.array([value], type=field.type))


@pytest.mark.parametrize("made", [CLIP_MADE, packed_clip()], ids=["pixels", "packed"])
def test_a_row_arrives(made: DecodedVideo) -> None:
    payload = sent(video_row(made))
    assert len(payload) <= most_bytes(PLAN, DecodeLimits())
    clip = video_of(checked_row(payload, PLAN))
    assert (clip.info, clip.warnings) == (made.info, made.warnings)
    np.testing.assert_array_equal(clip.frames, made.frames)
    np.testing.assert_array_equal(clip.audio, made.audio)
    if made.pack is not None:
        assert clip.pack is not None
        np.testing.assert_array_equal(clip.pack.data, made.pack.data)
        np.testing.assert_array_equal(clip.pack.offsets, made.pack.offsets)


@pytest.mark.parametrize(
    "row",
    [
        *(with_column(name, None) for name in sorted({*VIDEO.names} - {"frame_offsets", "audio"})),
        with_column("info", "{}"),
        with_column("info", "[" * 100_000),
        with_column("info", json.dumps({**dataclasses.asdict(INFO), "width": "30"})),
        with_column("info", json.dumps({**dataclasses.asdict(INFO), "more": 1})),
        with_column("info", json.dumps({**dataclasses.asdict(INFO), "duration_sec": 1e999})),
        with_column("frames", b"\0" * 100),
        with_column("frames", FRAMES.tobytes() * 2),
        with_column("height", -20),
        with_column("width", 0),
        with_column("timestamps", [0.0, 2.0, 1.0]),
        with_column("timestamps", [0.0, 1.0, float("nan")]),
        with_column("timestamps", [0.0, 1.0, None]),
        with_column("timestamps", [0.0, 1.0]),
        with_column("timestamps", [0.0, 1.0, 2.0, 3.0]),
        with_column("audio", None),
        with_column("audio", b""),
        with_column("audio", b"\0" * 5),
        with_column("audio", np.array([0, np.nan], np.float32).tobytes()),
        with_column("audio", np.array([0, 1.5], np.float32).tobytes()),
        with_column("audio_rate", 0),
        with_column("audio_rate", 48_000),
        with_column("warnings", ["odd", None]),
        with_column("frame_offsets", [0, 10, 20, 30]),
        with_column("frame_offsets", [], packed_clip()),
        with_column("frame_offsets", [0, 10, None, 30], packed_clip()),
        with_column("frame_offsets", [0, 700, 300, len(packed_clip().pack.data)], packed_clip()),  # type: ignore[union-attr]
        video_row(CLIP_MADE).slice(0, 0),
        pa.RecordBatch.from_pylist([{}, {}], schema=VIDEO),
        pa.RecordBatch.from_pydict({"info": ["x"]}),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be(row: pa.RecordBatch) -> None:
    with pytest.raises(DecoderFaultError):
        checked_row(sent(row), PLAN)


@pytest.mark.parametrize(
    "plan",
    [
        PLAN.model_copy(update={"num_frames": 2}),
        PLAN.model_copy(update={"max_pixels": 784, "stretch_to": (28, 20)}),
        PLAN.model_copy(update={"audio_rate": None}),
        PLAN.model_copy(update={"audio_rate": 8_000}),
    ],
)
def test_a_row_of_another_plan(plan: SamplingPlan) -> None:
    with pytest.raises(DecoderFaultError):
        checked_row(sent(video_row(CLIP_MADE)), plan)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_nothing_is_unpacked(codec: str) -> None:
    """A few kilobytes that become gigabytes in the parent."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    row = with_column("frames", bytes(FRAMES.size))
    with pa.ipc.new_stream(sink, VIDEO, options=options) as writer:
        writer.write_batch(row)
    with pytest.raises(DecoderFaultError, match="not a plain record batch"):
        checked_row(sink.getvalue(), PLAN)


def test_the_sender_s_schema_is_not_looked_at() -> None:
    class Trap(pa.ExtensionType):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(pa.string(), "rayjob.test.trap")

        def __arrow_ext_serialize__(self) -> bytes:
            return b"anything"

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: Any, data: bytes) -> Any:
            raise AssertionError("the sender's bytes were given to a registered type")

    row = video_row(CLIP_MADE)
    trapped = pa.RecordBatch.from_arrays(
        [pa.ExtensionArray.from_storage(Trap(), row["info"]), *row.columns[1:]], names=VIDEO.names
    )
    pa.register_extension_type(Trap())
    try:
        assert video_of(checked_row(sent(trapped), PLAN)).info == INFO
    finally:
        pa.unregister_extension_type("rayjob.test.trap")


def test_damaged_rows_end_in_one_error() -> None:
    data = sent(video_row(packed_clip())).to_pybytes()
    good = 0
    for seed in range(2000):
        chance = random.Random(seed)
        broken = bytearray(data[: chance.randrange(len(data))] if seed % 4 == 0 else data)
        for _ in range(chance.choice([1, 3, 20])):
            if broken:
                at = chance.randrange(min(len(broken), chance.choice([1200, 4000, len(data)])))
                broken[at] = chance.randrange(256)
        try:
            checked_row(pa.py_buffer(bytes(broken)), PLAN)
        except DecoderFaultError:
            continue
        good += 1  # for instance a changed pixel
    assert 0 < good < 1500


def test_lengths_are_bounded_by_plan_and_limits() -> None:
    limits = DecodeLimits(memory_mb=256, max_duration_sec=10)
    assert most_bytes(SamplingPlan(num_frames=1), limits) < 2 << 20
    assert most_bytes(SamplingPlan(fps=1.0), limits) < 6 << 20
    assert most_bytes(SamplingPlan(fps=30.0, max_pixels=1_000_000), limits) == 256 << 20


def test_errors_are_short_texts() -> None:
    pipe = io.BytesIO()
    film = "\U0001f3ac"
    odd = [film * LONGEST_WARNING] * MOST_WARNINGS
    send_error(pipe, "OpenError", film * 1_000_000, trace=film * 1_000_000, warnings=odd)
    error = checked_error(pa.py_buffer(pipe.getvalue()[HEADER.size :]))
    assert isinstance(error, OpenError)
    assert set(str(error)) == {film}
    assert error.warnings == odd
    assert len(pipe.getvalue()) - HEADER.size <= ERROR_BYTES
    for answer in (
        b"",
        b"[]",
        b"{}",
        b"[" * 60_000,
        b'{"error": "SystemExit", "message": "", "trace": "", "warnings": null}',
        b'{"error": "OpenError", "message": "", "trace": ""}',
        b'{"error": "OpenError", "message": "", "trace": "", "warnings": "odd"}',
        b'{"error": "OpenError", "message": "", "trace": "", "warnings": [1]}',
        b'{"error": "OpenError", "message": "", "trace": "", "warnings": ["\\ud800"]}',
        b'{"error": "OpenError", "message": "\\ud800", "trace": "", "warnings": null}',
    ):
        with pytest.raises(DecoderFaultError):
            checked_error(pa.py_buffer(answer))
