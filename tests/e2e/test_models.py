"""Runs with models of other families than the embedded one: tiny, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import jobs
from tests.support.models.checkpoint import Checkpoint
from tests.support.models.others import gemma3
from tests.support.models.qwen import qwen3_vl
from tinyworld.render import write_video
from tinyworld.world import sample_scenes


def captioned(
    family: Callable[[], Checkpoint], folder: Path, *arguments: str | Path, clips: int = 1
) -> tuple[jobs.Done, Path]:
    """Caption clips with sound by the recipe omni."""
    (folder / "in").mkdir()
    for number, scene in enumerate(sample_scenes(clips, seed=7)):
        write_video(folder / f"in/{number}.mp4", [(scene, 2.0)])
    model = family().write(folder / "model")
    settings = (
        "engine.load_format=dummy", "engine.dtype=bfloat16", "engine.device=cpu",
        "engine.kv_cache_bytes=67108864", "engine.max_num_seqs=2", "engine.max_model_len=8192",
        "recipe.plan={num_frames: 4, max_pixels: 12544, audio_rate: 16000}",
        "recipe.generation.max_tokens=8", "recipe.max_attempts=1",
    )  # fmt: skip
    done = jobs.caption(
        "--model", model, "--input", folder / "in", "--output", folder / "out",
        *(word for each in settings for word in ("--set", each)), *arguments,
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


@pytest.mark.slow
@pytest.mark.parametrize("family", [qwen3_vl, gemma3])
def test_with_the_sound_off_it_captions(family: Callable[[], Checkpoint], tmp_path: Path) -> None:
    done, output = captioned(family, tmp_path, "--set", "recipe.sound=off")
    assert done.code == 0, done.stderr
    (row,) = jobs.read(output, "captions")
    assert row["num_frames"] == 4
    assert row["output_tokens"] > 0
    assert not jobs.read(output, "failures")
