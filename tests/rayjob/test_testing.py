"""What people who write recipes test them with."""

from __future__ import annotations

import numpy as np
import pytest

from rayjob.testing import ScriptedEngine, sample_video
from schemas.config import GenerationConfig
from schemas.media import DecodedVideo, SamplingPlan
from schemas.recipe import Request


def sample_decoded(plan: SamplingPlan, *, seconds: float = 4.0) -> DecodedVideo:
    decoded = sample_video(plan, seconds=seconds).decoded
    assert decoded is not None
    return decoded


def test_a_sample_is_sampled_as_the_plan_says() -> None:
    clip = sample_decoded(SamplingPlan(fps=2.0, audio_rate=8_000), seconds=3.0)
    assert clip.timestamps.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert clip.frames.shape == (6, 24, 32, 3) and clip.frames.dtype == np.uint8
    assert clip.audio is not None and clip.audio.shape == (24_000,)
    assert clip.audio.dtype == np.float32 and 0.4 < np.abs(clip.audio).max() <= 1
    even = sample_decoded(SamplingPlan(num_frames=3))
    assert even.timestamps.tolist() == pytest.approx([0, 1.98, 3.96])
    assert (even.audio, even.audio_rate) == (None, 0)
    part = sample_decoded(SamplingPlan(num_frames=2, include_last=False, stretch_to=(40, 30)))
    assert part.timestamps.tolist() == pytest.approx([0, 1.98])
    assert part.frames.shape == (2, 30, 40, 3)


def test_something_moves_to_the_right() -> None:
    clip = sample_decoded(SamplingPlan(num_frames=4))
    centres = [np.argwhere(frame[:, :, 0] > 128)[:, 1].mean() for frame in clip.frames]
    assert centres == sorted(set(centres))


def test_a_plan_may_compress() -> None:
    clip = sample_decoded(SamplingPlan(num_frames=4, compress=True))
    plain = sample_decoded(SamplingPlan(num_frames=4))
    assert clip.pack is not None and clip.frames.size == 0 and clip.num_frames == 4
    difference = clip.images(range(4)).astype(int) - plain.frames
    assert np.abs(difference).mean() < 5


def test_a_silent_file() -> None:
    video = sample_video(SamplingPlan(num_frames=1, audio_rate=8_000), sound=False)
    assert video.decoded is not None
    assert (video.decoded.audio, video.decoded.info.has_audio) == (None, False)
    with pytest.raises(ValueError, match="is given captions"):
        sample_video(None)


async def test_an_engine_with_a_script() -> None:
    engine = ScriptedEngine(["A dog.", "It goes on~"], max_model_len=60)
    first = await engine.ask(Request(prompt="What is it?", system="Be short."))
    assert (first.text, first.finish_reason, first.output_tokens) == ("A dog.", "stop", 3)
    assert (await engine.ask(Request(prompt="?"))).finish_reason == "length"
    assert [request.prompt for request in engine.requests] == ["What is it?", "?"]
    with pytest.raises(AssertionError, match="more often than it has answers"):
        await engine.ask(Request(prompt="?"))
    with pytest.raises(AssertionError, match="could pass the context"):
        await engine.ask(Request(prompt="?", generation=GenerationConfig(max_tokens=60)))
    with pytest.raises(AssertionError, match="says more than it may"):
        await ScriptedEngine(lambda _: "one two").ask(
            Request(prompt="?", generation=GenerationConfig(max_tokens=1))
        )
