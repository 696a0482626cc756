"""A video that kills the engine costs one row, and no other video."""

from pathlib import Path

import pytest

from tests.support import jobs
from tinyworld.render import write_video
from tinyworld.world import sample_scenes


def captioned(folder: Path, names: list[str], *settings: str) -> jobs.Done:
    (folder / "in").mkdir()
    for name, scene in zip(names, sample_scenes(len(names), seed=61), strict=True):
        write_video(folder / "in" / name, [(scene, 2.0)])
    return jobs.caption(
        *jobs.DEMO,
        *("--recipe", "tests.support.recipes:Poisoned"),
        *("--input", folder / "in", "--output", folder / "out"),
        *settings,
        timeout=380,
    )


@pytest.mark.timeout(400)
def test_engines_that_die_again_and_again_end_the_run(tmp_path: Path) -> None:
    names = ["0-poison.mp4", "1-poison.mp4", "2-poison.mp4"]
    done = captioned(tmp_path, names, "--set", "health.engine_deaths_in_a_row=2")
    assert done.code == 1
    assert "2 engines died in a row (health.engine_deaths_in_a_row: 2)" in " ".join(
        done.stderr.split()
    )
    assert not list((tmp_path / "out/runs").rglob("_SUCCESS"))


@pytest.mark.timeout(400)
def test_a_poisonous_video(tmp_path: Path) -> None:
    done = captioned(tmp_path, ["0.mp4", "1.mp4", "2-poison.mp4", "3.mp4", "4.mp4"])
    assert done.code == 0, done.stderr
    assert sorted(jobs.captions(tmp_path / "out")) == ["0.mp4", "1.mp4", "3.mp4", "4.mp4"]
    (failure,) = jobs.read(tmp_path / "out", "failures")
    assert (failure["video_id"], failure["stage"]) == ("2-poison.mp4", "caption")
    assert failure["error"] == "EngineCrashedError"
    assert (tmp_path / "out/captions/recipe=poisoned").is_dir()
