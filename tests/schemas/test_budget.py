"""Whether a clip fits a model, and what becomes of one that does not: arithmetic alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from schemas.budget import Budget, ModelLimits
from schemas.errors import MediaLimitError, PromptTooLongError
from schemas.media import Clip, SamplingPlan

SOUND = SamplingPlan(num_frames=8, max_pixels=12_544, audio_rate=16_000)
SILENT = SamplingPlan(num_frames=8, max_pixels=12_544)
SIZE = (112, 112)
LIMITS = ModelLimits(
    context=1024,
    positions=16_384,
    positions_per_sec=25.0,
    sound_tokens_per_sec=25.0,
    token_side=28,
    frames_per_token=2,
)
"""The embedded model's."""


def budget(**given: Any) -> Budget:
    return Budget(**{"limits": LIMITS, "text": 40, "answer": 96} | given)


def fitted(made: Budget, seconds: float, *, plan: SamplingPlan = SOUND, sound: bool = True) -> Any:
    return made.fit(plan, seconds=seconds, sound_sec=seconds if sound else 0.0, size=SIZE)


def clip(*, frames: int, every: float, sound_sec: float = 0.0) -> Clip:
    return Clip(
        duration_sec=frames * every,
        frames=np.zeros((frames, *SIZE, 3), np.uint8),
        timestamps=np.arange(frames) * every,
        audio=np.zeros(int(16_000 * sound_sec), np.float32) if sound_sec else None,
        audio_rate=16_000 if sound_sec else 0,
    )


def test_what_fits_stays_as_it_is() -> None:
    for way in ("fail", "sample", "window"):
        fitting = fitted(budget(on_too_long=way), 30.0)
        assert (fitting.plan, fitting.window_sec, fitting.warning) == (SOUND, None, None)


def test_a_failure_names_limit_length_and_setting() -> None:
    with pytest.raises(MediaLimitError) as caught:
        fitted(budget(), 3600.0)
    for words in ("3600.0 s of sound", "90000", "1024", "engine.max_model_len", "on_too_long"):
        assert words in str(caught.value)
    with pytest.raises(MediaLimitError, match=r"7200\.0 s on the model's clock .* 16384; recipe"):
        fitted(budget(), 7200.0, sound=False)


def test_the_clock_ends_where_the_table_does() -> None:
    """Eight frames are four pairs, the last of which begins at 6/7 of the video."""
    longest = budget(text=0, answer=0).longest(SILENT, sound=False, size=SIZE)
    pictures = 4 * 16
    assert longest == pytest.approx((16_384 - pictures) / 25 * 7 / 6 / 1.004, rel=0.001)
    assert fitted(budget(), longest - 20, plan=SILENT, sound=False).plan == SILENT


def test_what_is_not_known_limits_nothing() -> None:
    unknown = budget(limits=ModelLimits(context=1024))
    assert unknown.longest(SOUND, sound=True, size=SIZE) == math.inf
    assert fitted(unknown, 1e6).plan == SOUND


def test_sound_beyond_what_an_encoder_hears_is_not_cut_off_unsaid() -> None:
    made = budget(limits=ModelLimits(context=8192, longest_sound_sec=30.0))
    assert fitted(made, 30.0).plan == SOUND
    with pytest.raises(MediaLimitError, match="the model hears 30 s"):
        fitted(made, 31.0)


def test_sampling_leaves_out_the_sound_and_says_so() -> None:
    fitting = fitted(budget(on_too_long="sample"), 3600.0)
    assert (fitting.plan.audio_rate, fitting.plan.num_frames) == (None, 8)
    assert fitting.window_sec is None
    assert "8 frames of all of it are shown, without the sound" in fitting.warning


def test_sampling_takes_fewer_frames_of_all_the_length() -> None:
    plan = SamplingPlan(fps=1.0, max_pixels=12_544)
    made = budget(on_too_long="sample")
    fitting = fitted(made, 600.0, plan=plan, sound=False)
    assert fitting.plan.fps is None
    # 16 tokens of each pair, beside 136 of text and answer.
    assert fitting.plan.num_frames == (1024 - 136) // 16 * 2
    assert made.fit(fitting.plan, seconds=600, sound_sec=0, size=SIZE).plan == fitting.plan


@pytest.mark.parametrize("plan", [SOUND, SamplingPlan(fps=2.0, audio_rate=16_000)])
@pytest.mark.parametrize("seconds", [34.0, 100.0, 3600.0])
def test_every_window_fits_and_they_cover_the_video(plan: SamplingPlan, seconds: float) -> None:
    made = budget(on_too_long="window")
    fitting = fitted(made, seconds, plan=plan)
    parts = seconds / fitting.window_sec
    assert parts == pytest.approx(round(parts))
    assert f"captioned in {round(parts)} parts" in fitting.warning
    assert fitted(budget(), fitting.window_sec, plan=plan).plan == plan
    assert fitting.plan.fps == plan.fps or fitting.plan.fps == 8 / fitting.window_sec
    assert made.widest(plan).fps >= fitting.plan.fps


def test_a_recipe_that_cuts_by_itself_is_asked_about_its_parts() -> None:
    made = budget(part_sec=10.0, part_frames=16)
    plan = SamplingPlan(fps=4.0, max_pixels=12_544, audio_rate=16_000)
    assert fitted(made, 3600.0, plan=plan).plan == plan
    with pytest.raises(MediaLimitError, match=r"recipe\.options\.window_sec"):
        fitted(budget(part_sec=100.0), 3600.0, plan=plan)


def test_a_request_beyond_the_table_is_refused() -> None:
    made = budget()
    fits = clip(frames=8, every=90.0)
    assert made.admit(fits, text=40, answer=96) is fits
    with pytest.raises(PromptTooLongError, match="on the model's clock"):
        made.admit(clip(frames=8, every=120.0), text=40, answer=96)
    with pytest.raises(PromptTooLongError, match=r"60\.0 s of sound"):
        made.admit(clip(frames=8, every=1.0, sound_sec=60.0), text=40, answer=96)


def test_the_clock_gives_way_to_sampling() -> None:
    long = clip(frames=8, every=1000.0)
    told = budget(on_too_long="sample").admit(long, text=40, answer=96)
    assert told.duration_sec == long.duration_sec
    assert budget().admit(told, text=40, answer=96) is told
    assert told.timestamps[-1] > 600, "no shorter than it must be"
    assert np.allclose(np.diff(told.timestamps), told.timestamps[1])
