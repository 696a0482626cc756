"""A video that was cut to fit the model: a caption for each part."""

from __future__ import annotations

import dataclasses

import pytest

from rayjob.recipes import find_recipe
from rayjob.recipes.omni import Omni
from rayjob.testing import ScriptedEngine, sample_video
from schemas.config import GenerationConfig, RecipeConfig
from schemas.errors import IncompleteError, RequestRejectedError
from schemas.media import SamplingPlan
from schemas.recipe import Request, Video

ONCE = RecipeConfig(max_attempts=1, generation=GenerationConfig(max_tokens=64))


def cut_video(seconds: float, *, window_sec: float) -> Video:
    video = sample_video(SamplingPlan(fps=2.0, audio_rate=16_000), seconds=seconds)
    assert video.decoded is not None
    info = dataclasses.replace(video.decoded.info, window_sec=window_sec)
    return dataclasses.replace(video, decoded=dataclasses.replace(video.decoded, info=info))


@pytest.mark.parametrize("name", ["omni", "structured"])
async def test_the_parts_cover_the_video(name: str) -> None:
    engine = ScriptedEngine(lambda _: "A white square moves right.")
    rows = await find_recipe(name)(ONCE).caption(cut_video(12.03, window_sec=4.0), engine)
    assert [(row.level, row.index, row.num_frames) for row in rows] == [
        ("clip", 0, 9), ("clip", 1, 8), ("clip", 2, 8)
    ]  # fmt: skip
    assert (rows[0].start_sec, rows[-1].end_sec) == (0.0, pytest.approx(12.03))
    assert [row.end_sec for row in rows[:-1]] == [row.start_sec for row in rows[1:]]
    for request in engine.requests:
        assert request.clip is not None and request.clip.audio is not None
        assert len(request.clip.audio) / 16_000 == pytest.approx(4.01, abs=0.01)


async def test_the_parts_that_worked_stay_beside_the_failure() -> None:
    asked: list[Request] = []

    def script(request: Request) -> str:
        asked.append(request)
        if len(asked) == 2:
            raise RequestRejectedError("refused")
        return "A white square moves right."

    with pytest.raises(IncompleteError, match="refused") as caught:
        await Omni(ONCE).caption(cut_video(12.0, window_sec=4.0), ScriptedEngine(script))
    assert len(caught.value.rows) == 2
