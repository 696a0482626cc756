"""In which portions an engine has its videos."""

from __future__ import annotations

import pytest

from rayjob.run.graph import Tasks
from schemas.media import SamplingPlan

SHORT = SamplingPlan(num_frames=4, max_pixels=128 * 128)
CLIP = SamplingPlan(num_frames=32, max_pixels=100_352, audio_rate=16_000)  # 11.6 MB
LARGE = SamplingPlan(num_frames=64, stretch_to=(1280, 720))  # 177 MB
HOUR = SamplingPlan(fps=1.0)


@pytest.mark.parametrize(
    ("plan", "in_flight", "share", "videos", "at_hand"),
    [
        (SHORT, 320, 100_000, 64, 25),
        (None, 320, 100_000, 64, 25),
        # Not more than 256 MB in a task and 16 GB in all of an engine's.
        (CLIP, 320, 100_000, 23, 64),
        (CLIP, 80, 100_000, 23, 20),
        (LARGE, 80, 100_000, 1, 80),
        # The engine has several tasks at once.
        (SHORT, 80, 100_000, 40, 10),
        (SHORT, 1, 100_000, 1, 1),
        # Nobody knows how much is decoded of each.
        (HOUR, 80, 100_000, 4, 40),
        (HOUR, 20, 100_000, 1, 20),
        # In a small run every actor has its share.
        (SHORT, 320, 160, 10, 33),
        (SHORT, 80, 160, 10, 16),
        (SHORT, 320, 3, 1, 320),
    ],
)
def test_tasks_are_as_large_as_they_may_be(
    plan: SamplingPlan | None, in_flight: int, share: int, videos: int, at_hand: int
) -> None:
    tasks = Tasks.of(plan, in_flight=in_flight, share=share)
    assert (tasks.videos, tasks.at_hand) == (videos, at_hand)
    assert tasks.videos * tasks.busy >= in_flight
