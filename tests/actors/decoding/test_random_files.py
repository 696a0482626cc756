"""Whatever a file is like: frames and sound are right, or the answer says that they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.decoding.decoder import decode
from actors.storage.access import open_range
from schemas.errors import VideoError
from schemas.media import DecodedVideo, DecodeLimits, SamplingPlan, StorageOptions
from tests.actors.decoding.random_files import RATE, RandomFile, make
from tests.support.media import numbers_of

SOUND = 16_000
PLANS = (
    SamplingPlan(num_frames=16, audio_rate=SOUND),
    SamplingPlan(fps=3.0, audio_rate=SOUND),
    SamplingPlan(num_frames=5),
)


def wrong(file: RandomFile, video: DecodedVideo) -> list[str]:
    """What is not as the file has it, one sentence each."""
    found = []
    times = np.array([*file.times, np.inf])
    numbers = numbers_of(video.frames)
    first = numbers[0]
    if first >= len(file.times):
        return [f"the first frame reads {first}"]
    for moment, number in zip(video.timestamps.tolist(), numbers, strict=True):
        at = times[0] + moment
        low, high = np.searchsorted(times, (at - 0.002, at + 0.002), side="right") - 1
        if not low - 1 <= number <= high + 1:
            found.append(f"at {moment:.3f} s frame {number} instead of {low}")
    length = file.times[-1] + 1 / RATE
    if not file.endless and abs(video.info.duration_sec - length) > 0.5 + 0.02 * length:
        found.append(f"{video.info.duration_sec:.3f} s long instead of {length:.3f}")
    if video.audio is not None or (file.clicks and video.audio_rate):
        heard, there = clicks_of(video), file.clicks
        if file.endless:
            there = there[: len(heard)]
        if len(heard) != len(there):
            found.append(f"clicks at {heard} instead of {np.round(there, 2).tolist()}")
        elif heard and np.abs(np.array(heard) - there).max() > 0.02:
            found.append(f"clicks off by {np.round(np.array(heard) - there, 3).tolist()}")
    return found


def clicks_of(video: DecodedVideo) -> list[float]:
    """When the clicks of a sound begin, in seconds."""
    if video.audio is None:
        return []
    loud = np.flatnonzero(np.abs(video.audio) > 0.12) / video.audio_rate
    return [
        round(float(time), 4)
        for time, before in zip(loud, np.concatenate([[-1.0], loud]), strict=False)
        if time - before > 0.2
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(320))
def test_it_is_right_or_it_says_so(tmp_path: Path, seed: int) -> None:
    file = make(seed, tmp_path)
    for plan in PLANS:
        try:
            with open_range(str(file.path), StorageOptions()) as reader:
                video = decode(reader, plan, DecodeLimits())
        except VideoError:
            continue
        if not video.warnings:
            assert not wrong(file, video), file.story
