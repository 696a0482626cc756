"""The model really watches and listens: change the clip, and its caption changes accordingly."""

import dataclasses

import numpy as np
import pytest

from tests.support import jobs
from tinyworld.render import write_video
from tinyworld.world import Scene, grade, reversed_in_time, sample_scenes

PAIRS = 10
ATTRIBUTES = ("colour", "shape", "motion", "sound", "background")


def variants(scene: Scene) -> dict[str, Scene]:
    """One scene, and what is left of it after each change."""
    swapped = {"red": "blue", "blue": "red"}
    return {
        "plain": scene,
        "swapped": dataclasses.replace(scene, colour=swapped[scene.colour]),
        "reversed": reversed_in_time(scene),
        "muted": dataclasses.replace(scene, sound="silence"),
    }


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], tuple[str, Scene]]:
    """Captions of all variants of scenes with a red or blue thing that moves and sounds."""
    work = tmp_path_factory.mktemp("semantics")
    fitting = [
        scene
        for scene in sample_scenes(4000, seed=11)
        if scene.colour in ("red", "blue")
        and scene.background not in ("red", "blue")
        and scene.motion != "still"
        and scene.sound != "silence"
    ][:PAIRS]
    assert len(fitting) == PAIRS
    shown = {
        f"{number:02d}-{name}.mp4": scene
        for number, base in enumerate(fitting)
        for name, scene in variants(base).items()
    }
    (work / "in").mkdir()
    for file, scene in shown.items():
        write_video(work / "in" / file, [(scene, 4.0)])
    # By the way: the requests are prepared by a process of their own.
    beside = ("--set", "engine.prepare_processes=1", "--set", "engine.cpus_per_engine=1")
    done = jobs.caption(*jobs.DEMO, *beside, "--input", work / "in", "--output", work / "out")
    assert done.code == 0, done.stderr
    captions = jobs.captions(work / "out")
    assert captions.keys() == shown.keys()
    return {(int(file[:2]), file[3:-4]): (captions[file], scene) for file, scene in shown.items()}


@pytest.mark.parametrize(
    ("variant", "attribute"), [("swapped", "colour"), ("reversed", "motion"), ("muted", "sound")]
)
def test_the_caption_follows_the_change(
    told: dict[tuple[int, str], tuple[str, Scene]], variant: str, attribute: str
) -> None:
    followed = [
        grade(*told[number, "plain"])[attribute] and grade(*told[number, variant])[attribute]
        for number in range(PAIRS)
    ]
    # The two scenes differ in just this attribute, so one answer cannot be right for both.
    assert np.mean(followed) >= 0.9


def test_captions_are_right(told: dict[tuple[int, str], tuple[str, Scene]]) -> None:
    right = [all(grade(text, scene, ATTRIBUTES).values()) for text, scene in told.values()]
    assert np.mean(right) >= 0.9
