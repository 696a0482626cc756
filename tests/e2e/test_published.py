"""What the published systems have beside one caption of a clip, with the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import jobs
from tinyworld import tasks
from tinyworld.render import write_video
from tinyworld.world import VISUAL_ATTRIBUTES, Scene, grade, sample_scenes

CLIPS = 20
PLANS = {
    "heard": "{num_frames: 0, audio_rate: 16000}",
    "seen": "{num_frames: 8, max_pixels: 12544}",
}


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    some = [scene for scene in sample_scenes(200, seed=31) if scene.sound != "silence"]
    return {f"{number:02d}.mp4": scene for number, scene in enumerate(some[:CLIPS])}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, scenes: dict[str, Scene]) -> Path:
    work = tmp_path_factory.mktemp("published")
    (work / "in").mkdir()
    for name, scene in scenes.items():
        write_video(work / "in" / name, [(scene, 4.0)])
    return work


def captioned(work: Path, name: str, *more: Any) -> list[dict[str, Any]]:
    """The rows of one captioning; all go into one output."""
    done = jobs.caption("--input", work / "in", "--output", work / "out", *more)
    assert done.code == 0, done.stderr
    return [row for row in jobs.read(work / "out", "captions") if row["recipe"] == name]


def test_what_only_the_sound_and_only_the_picture_tells(
    work: Path, scenes: dict[str, Scene]
) -> None:
    """Stages of annotation, side by side. The model says of itself what it is not shown."""
    told = {
        name: captioned(
            work, name, *jobs.DEMO, "--recipe", name, "--set", f"recipe.plan={plan}"
        )
        for name, plan in PLANS.items()
    }  # fmt: skip
    for rows in told.values():
        assert {row["video_id"] for row in rows} == scenes.keys()
        assert {row["caption_status"] for row in rows} == {"ok"}
    heard = {row["video_id"]: row["caption"] for row in told["heard"]}
    right = [text == tasks.sound_only(scenes[name]).answer for name, text in heard.items()]
    assert np.mean(right) >= 0.9
    seen = {row["video_id"]: row["caption"] for row in told["seen"]}
    marks = [grade(text, scenes[name], VISUAL_ATTRIBUTES) for name, text in seen.items()]
    assert np.mean([all(each.values()) for each in marks]) >= 0.9
    assert not any(grade(text, scenes[name], ("sound",))["sound"] for name, text in seen.items())
