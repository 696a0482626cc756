"""What travels between stages comes out as it went in."""

import numpy as np
import pyarrow as pa
import pytest

from schemas.blocks import (
    DECODED,
    INPUTS,
    PACKED,
    decoded_table,
    packed,
    unpacked,
    video_of,
    video_row,
)
from schemas.media import DecodedVideo, VideoInfo
from schemas.tables import RESULTS, FailureRow, failures_of, results_table

ROW = {
    "video_id": "a.mp4",
    "uri": "/v/a.mp4",
    "metadata": None,
    "source_version": "1-2",
    "attempts": 0,
}


def clip(frames: int, sound: bool) -> DecodedVideo:
    chance = np.random.default_rng(frames)
    info = VideoInfo(
        duration_sec=4.0, fps=25.0, width=6, height=4, has_video=frames > 0, has_audio=sound
    )
    return DecodedVideo(
        info=info,
        frames=chance.integers(0, 255, (frames, 4, 6, 3), dtype=np.uint8),
        timestamps=np.arange(frames, dtype=np.float64),
        audio=chance.standard_normal(100).astype(np.float32) if sound else None,
        audio_rate=16_000 if sound else 0,
        warnings=("odd",),
    )


@pytest.mark.parametrize(("frames", "sound"), [(8, True), (1, False), (0, True)])
def test_a_clip_survives(frames: int, sound: bool) -> None:
    before = clip(frames, sound)
    other = decoded_table(ROW | {"material": None}, video_row(clip(3, True)))
    table = pa.concat_tables(
        [other, decoded_table(ROW | {"material": None}, video_row(before)), other]
    ).combine_chunks()
    assert table.schema.equals(DECODED)
    after = video_of(table, 1)
    assert after.info == before.info
    assert after.warnings == ("odd",)
    assert after.timestamps.tolist() == before.timestamps.tolist()
    assert len(after.frames) == frames
    if frames:
        np.testing.assert_array_equal(after.frames, before.frames)
        assert not after.frames.flags.owndata
    if before.audio is None:
        assert after.audio is None
    else:
        assert after.audio is not None
        np.testing.assert_array_equal(after.audio, before.audio)


def test_a_failure_survives() -> None:
    failure = FailureRow(
        **(ROW | {"attempts": 2}), stage="open", error="NotFoundError", message="gone",
        transient=False,
    )  # fmt: skip
    table = decoded_table(ROW | {"material": None}, failure)
    assert table["info"][0].as_py() is None
    stored = table["failure"][0].as_py()
    assert (stored["error"], stored["message"], stored["attempts"]) == ("NotFoundError", "gone", 2)
    assert set(INPUTS.names) <= set(table.column_names)


def test_results_are_packed_into_one_row() -> None:
    failure = FailureRow(
        **(ROW | {"attempts": 1}), stage="open", error="E", message="m", transient=True
    )
    results = pa.concat_tables(
        [results_table("a", failures=[failure]), results_table("b", failures=[failure])]
    )
    batch = packed(results)
    assert (batch.num_rows, batch.schema) == (1, PACKED)
    (after,) = unpacked(pa.concat_tables([batch]))
    assert after.schema.equals(RESULTS)
    assert after.equals(results)
    assert failures_of(after)["error"].to_pylist() == ["E", "E"]
