"""Sampling by change: which frames are taken, and when they are due."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.decoding.changes import at_changes, difference, frames_from
from actors.decoding.decoder import VideoFile, decode
from actors.decoding.reading import LIST_PRICES
from actors.storage.access import open_range
from actors.storage.range_reader import RangeReader
from schemas.media import DecodeLimits, SamplingPlan, Segment, StorageOptions
from tests.support.films import FPS, Film, Shot
from tests.support.media import numbers_of, render

PLAN = SamplingPlan(fps=5, change=4)


def picked(levels: list[int], *, rate: float = 25.0, plan: SamplingPlan = PLAN) -> list[int]:
    """Which of frames of one brightness each are taken."""
    frames = [(number / rate, level) for number, level in enumerate(levels)]
    found = at_changes(frames, lambda level: np.full((4, 4, 3), level, np.uint8), plan, rate)
    return [round(time * rate) for time, _ in found]


def test_where_nothing_changes_a_few_frames_a_second_are_taken() -> None:
    assert picked([7] * 26) == [0, 5, 10, 15, 20, 25]


def test_between_two_that_differ_every_frame_is_taken_and_so_is_the_end() -> None:
    assert picked([7] * 7 + [90] * 12) == [0, 5, 6, 7, 8, 9, 10, 15, 16, 17, 18]


def test_no_more_frames_wait_than_memory_should_hold() -> None:
    assert picked([7] * 40, rate=240.0) == [0, 12, 24, *range(36, 40)]


def test_differences_of_bytes_do_not_wrap_around() -> None:
    dark, light = (np.full((2, 2, 3), level, np.uint8) for level in (5, 250))
    assert difference(dark, light) == difference(light, dark) == 245


def test_a_stretch_begins_with_the_frame_that_is_shown() -> None:
    frames = [(number / 10, number) for number in range(10)]
    assert [each for _, each in frames_from(frames, [0.25, 0.3, 0.62], 0.001)] == [2, 3, 4, 5, 6]
    assert [each for _, each in frames_from(frames[:3], [0.9, 1.0], 0.001)] == [2]


def test_of_uneven_frames_none_is_missed(tmp_path: Path) -> None:
    """Neither between key frames at which no frame would be due, were they even, nor at the end."""
    times = [0, 0.1, 0.5, 0.55, 2, 2.1, 2.12]
    path = render(tmp_path / "uneven.mp4", times=times, count=len(times), gop=1)
    plan = SamplingPlan(fps=1000, change=0.1)
    with open_range(str(path), StorageOptions()) as reader:
        video = decode(reader, plan, DecodeLimits(), segment=Segment(0.3, 2.125))
    assert numbers_of(video.frames) == [1, 2, 3, 4, 5, 6]
    assert video.timestamps[1:] == pytest.approx([0.2, 0.25, 1.7, 1.8, 1.82], abs=0.001)


@pytest.mark.parametrize("gop", [6, 48, 250])
def test_all_frames_around_a_cut_bear_their_own_times(gop: int) -> None:
    film = Film([Shot(frames=60, seed=1, speed=0), Shot(frames=61, seed=2, speed=0)])
    data = film.encoded(gop=gop)
    with (
        RangeReader(lambda start, stop: data[start:stop], size=len(data), name="f") as reader,
        VideoFile(reader, DecodeLimits(), LIST_PRICES, parts=True) as file,
    ):
        for begin, end in ((0.0, None), (1.0, 4.0), (2.4, 2.6)):
            video = file.decode(PLAN, segment=Segment(begin, end))
            frames = (video.timestamps + begin) * FPS
            # The first is the one that is shown when the stretch begins.
            assert frames[1:] == pytest.approx(np.round(frames[1:]), abs=0.02)
            numbers = np.floor(frames + 0.02).astype(int).tolist()
            assert {59, 60} <= set(numbers), "the frames on both sides of the cut"
            place = numbers.index(60)
            jump = difference(video.frames[place - 1], video.frames[place])
            assert jump > 10 and numbers == sorted(set(numbers))
