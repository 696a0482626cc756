"""How many videos a task of the graph carries."""

from __future__ import annotations

import pytest

from rayjob.run.graph import _videos_per_task
from schemas.media import SamplingPlan

SHORT = SamplingPlan(num_frames=4, max_pixels=128 * 128)
CLIP = SamplingPlan(num_frames=32, max_pixels=100_352, audio_rate=16_000)
HOUR = SamplingPlan(fps=1.0)


@pytest.mark.parametrize(
    ("plan", "in_flight", "share", "expected"),
    [
        (SHORT, 320, 100_000, 64),
        (None, 320, 100_000, 64),
        (CLIP, 320, 100_000, 23),  # 11.6 MB each
        # The engine has several tasks at once.
        (SHORT, 80, 100_000, 20),
        (SHORT, 1, 100_000, 1),
        # Nobody knows how much is decoded of each.
        (HOUR, 80, 100_000, 4),
        # In a small run every actor has its share.
        (SHORT, 320, 160, 10),
        (SHORT, 320, 3, 1),
    ],
)
def test_a_task_is_as_large_as_it_may_be(
    plan: SamplingPlan | None, in_flight: int, share: int, expected: int
) -> None:
    assert _videos_per_task(plan, in_flight=in_flight, share=share) == expected
