"""Edit lists: what is shown when, of a track that is cut, put in another order, repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.actors.decoding.bitstreams import edited
from tests.actors.decoding.test_decoder import SOUND, expected, load
from tests.actors.decoding.test_odd_files import bursts_of
from tests.support.media import Sound, numbers_of, render

TICKS = 12_800
"""A second in the picture's own time."""

NOT_FOLLOWED = "an edit list stops or changes the speed, and was not followed there"


def clip(folder: Path, b_frames: int) -> Path:
    """Four seconds, with bursts in its second and its fourth second."""
    return render(
        folder / "clip.mp4", count=100, b_frames=b_frames,
        sounds=[Sound(seconds=4, bursts=[(1.0, 1.5), (3.0, 3.5)])],
    )  # fmt: skip


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize(
    "parts",
    [
        [(1.0, 4.0)],
        [(0.0, 2.0)],
        [(0.6, 1.6)],
        [(0.0, 1.0), (2.0, 3.0)],
        [(0.0, 1.0), (0.0, 1.0)],
        [(2.0, 3.0), (0.0, 1.0)],
        [(0.2, 0.6), (1.4, 2.0), (3.0, 3.4)],
        [(number * 0.4, number * 0.4 + 0.4) for number in range(10)],
    ],
    ids=str,
)
def test_parts_are_shown_in_their_order(
    tmp_path: Path, parts: list[tuple[float, float]], b_frames: int
) -> None:
    # Frames of a file with B-frames are shown two frames after they are decoded.
    late = b_frames * TICKS // 25
    edits = [(round(1000 * (b - a)), round(a * TICKS) + late, 1) for a, b in parts]
    path = edited(tmp_path / "edited.mp4", clip(tmp_path, b_frames), edits)
    due = [number for a, b in parts for number in range(round(a * 25), round(b * 25))]
    for plan in ({"num_frames": 12}, {"fps": 6.0, "audio_rate": SOUND}, {"num_frames": 500}):
        video = load(path, **plan)
        assert len(parts) > 1 or video.warnings == ()
        if video.warnings:
            continue  # FFmpeg stamps two frames alike where parts of B-frames meet
        for moment, number in zip(video.timestamps, numbers_of(video.frames), strict=True):
            # A frame off; where parts of B-frames meet, FFmpeg leaves room for one more.
            at, off = round(moment * 25), 1 + (len(parts) - 1) * (b_frames > 0)
            assert number in due[max(at - off, 0) : at + 2]
        assert video.timestamps[-1] == pytest.approx(len(due) / 25, abs=0.2)


def test_a_picture_that_begins_later_than_its_sound(tmp_path: Path) -> None:
    path = edited(tmp_path / "edited.mp4", clip(tmp_path, 0), [(1000, -1, 1), (4000, 0, 1)])
    video = load(path, num_frames=9, audio_rate=SOUND)
    assert numbers_of(video.frames) == expected(100, 9)
    assert bursts_of(video) == pytest.approx([0.0, 0.5, 2.0, 2.5], abs=0.03)


@pytest.mark.parametrize(
    ("edits", "bursts"),
    [
        ([(500, -1, 1), (4000, 1024, 1)], [1.5, 2.0, 3.5, 4.0]),
        ([(3000, 44_100 + 1024, 1)], [0.0, 0.5, 2.0, 2.5]),
        ([(2000, 1024, 1), (1000, 3 * 44_100 + 1024, 1)], [1.0, 1.5, 2.0, 2.5]),
    ],
)
def test_the_sound_has_one_of_its_own(
    tmp_path: Path, edits: list[tuple[int, int, int]], bursts: list[float]
) -> None:
    path = edited(tmp_path / "edited.mp4", clip(tmp_path, 0), edits, track=1)
    video = load(path, num_frames=9, audio_rate=SOUND)
    assert bursts_of(video) == pytest.approx(bursts, abs=0.03)


@pytest.mark.parametrize("track", [0, 1])
@pytest.mark.parametrize(
    "edits",
    [
        [(1000, 0, 1), (1000, -1, 1), (1000, TICKS, 1)],
        [(1000, 0, 1), (1000, TICKS, 0), (1000, TICKS, 1)],
        [(2000, 0, 2)],
    ],
    ids=["stops", "stands", "fast"],
)
def test_what_is_not_followed_is_told(
    tmp_path: Path, edits: list[tuple[int, int, int]], track: int
) -> None:
    path = edited(tmp_path / "edited.mp4", clip(tmp_path, 0), edits, track=track)
    assert NOT_FOLLOWED in load(path, num_frames=9, audio_rate=SOUND).warnings
