"""A video that kills the engine costs one row, and no other video."""

from pathlib import Path

import pytest

from tests.support import jobs
from tinyworld.render import write_video
from tinyworld.world import sample_scenes


@pytest.mark.timeout(400)
def test_a_poisonous_video(tmp_path: Path) -> None:
    names = ["0.mp4", "1.mp4", "2-poison.mp4", "3.mp4", "4.mp4"]
    (tmp_path / "in").mkdir()
    for name, scene in zip(names, sample_scenes(len(names), seed=61), strict=True):
        write_video(tmp_path / "in" / name, [(scene, 2.0)])
    done = jobs.caption(
        *jobs.DEMO,
        *("--recipe", "tests.support.recipes:Poisoned"),
        *("--input", tmp_path / "in", "--output", tmp_path / "out"),
        timeout=380,
    )
    assert done.code == 0, done.stderr
    assert sorted(jobs.captions(tmp_path / "out")) == ["0.mp4", "1.mp4", "3.mp4", "4.mp4"]
    (failure,) = jobs.read(tmp_path / "out", "failures")
    assert (failure["video_id"], failure["stage"]) == ("2-poison.mp4", "caption")
    assert failure["error"] == "EngineCrashedError"
    assert (tmp_path / "out/captions/recipe=poisoned").is_dir()
