"""Runs with models of other families than the embedded one: tiny, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rayjob.recipes.longform.clips import Clips
from tests.support import jobs
from tests.support.models.checkpoint import Checkpoint
from tests.support.models.minicpm import minicpmv
from tests.support.models.others import gemma3
from tests.support.models.qwen import gpt_oss, qwen3_vl
from tests.support.models.smolvlm import smolvlm
from tinyworld.render import write_video
from tinyworld.world import sample_scenes

REFUSED_WITHIN_SEC = 20.0
"""CPU time: wall time is the machine's."""

DUMMY = ("engine.load_format=dummy", "engine.dtype=bfloat16")


def sets(*settings: str) -> list[str]:
    return [word for each in settings for word in ("--set", each)]


def captioned(
    family: Callable[[], Checkpoint], folder: Path, *arguments: str | Path, clips: int = 1
) -> tuple[jobs.Done, Path]:
    """Caption clips with sound by the recipe omni."""
    (folder / "in").mkdir()
    for number, scene in enumerate(sample_scenes(clips, seed=7)):
        write_video(folder / f"in/{number}.mp4", [(scene, 2.0)])
    model = family().write(folder / "model")
    settings = (
        *DUMMY, "engine.device=cpu",
        "engine.kv_cache_bytes=67108864", "engine.max_num_seqs=2", "engine.max_model_len=8192",
        "recipe.plan={num_frames: 4, max_pixels: 12544, audio_rate: 16000}",
        "recipe.generation.max_tokens=8", "recipe.max_attempts=1",
    )  # fmt: skip
    done = jobs.caption(
        "--model", model, "--input", folder / "in", "--output", folder / "out",
        *sets(*settings), *arguments,
    )  # fmt: skip
    return done, folder / "out"


@pytest.mark.parametrize(
    "executors",
    [
        pytest.param((), id="one"),
        pytest.param(jobs.TWO_EXECUTORS, marks=pytest.mark.slow, id="two"),
    ],
)
def test_a_deaf_model_is_refused_before_anything_is_done(
    executors: tuple[str, ...], tmp_path: Path
) -> None:
    done, output = captioned(qwen3_vl, tmp_path, *executors, clips=2)
    assert done.code == 2, done.stderr
    assert "the model does not hear" in done.stderr
    assert "set recipe.sound to off" in done.stderr
    assert not jobs.read(output, "captions") and not jobs.read(output, "failures")
    assert done.cpu_sec < REFUSED_WITHIN_SEC


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "arguments", "said"),
    [
        (qwen3_vl, (), "set recipe.sound to off"),
        (gpt_oss, ("--recipe", "seen"), "sees nothing (it takes no media)"),
        (minicpmv, ("--recipe", "clips"), "Set engine.trust_remote_code"),
        (smolvlm, ("--recipe", "seen"), "num2words"),
        (gemma3, ("--recipe", "seen", "--context-length", "512"), "raise engine.max_model_len"),
    ],
)
def test_what_a_model_cannot_be_shown_is_said_soon(
    family: Callable[[], Checkpoint], arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = jobs.check("--model", family().write(tmp_path / "model"), *arguments, *sets(*DUMMY))
    assert done.code == 2, done.stderr
    assert said in " ".join(done.stderr.split())
    assert done.cpu_sec < REFUSED_WITHIN_SEC


@pytest.fixture
def default_of_clips(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that holds a model of that name, as the hub's client has it."""
    name = f"models--{Clips.model.replace('/', '--')}"
    revision = "0" * 40
    folder = tmp_path / "hub" / name
    minicpmv().write(folder / "snapshots" / revision)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(revision)
    return {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}


def test_the_default_of_clips_is_rehearsed_as_it_is(default_of_clips: dict[str, str]) -> None:
    """Its processor is code that it brings along; no setting is needed for it."""
    done = jobs.check("--recipe", "clips", *sets(*DUMMY), env=default_of_clips)
    assert done.code == 0, done.stderr
    assert "a short clip: " in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("family", [qwen3_vl, gemma3])
def test_with_the_sound_off_it_captions(family: Callable[[], Checkpoint], tmp_path: Path) -> None:
    done, output = captioned(family, tmp_path, "--set", "recipe.sound=off")
    assert done.code == 0, done.stderr
    (row,) = jobs.read(output, "captions")
    assert row["num_frames"] == 4
    assert row["output_tokens"] > 0
    assert not jobs.read(output, "failures")
