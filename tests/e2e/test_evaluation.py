"""Half the frames make worse captions, and the evaluation says so; equal runs it calls equal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import jobs
from tinyworld.demo import render_clips
from tinyworld.tasks import structured_answer
from tinyworld.world import sample_scenes

pytestmark = pytest.mark.slow

CLIPS = 120
FRAMES = (8, 4)


def compared(work: Path, first: int, second: int) -> str:
    """What a person reads of a comparison."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rayjob.evaluate", "--suite", "structured"),
            *("--labels", work / "labels.jsonl"),
            *("--compare", work / f"out{first}", work / f"out{second}"),
        ],
        cwd=jobs.ROOT,
        capture_output=True,
        text=True,
        timeout=jobs.TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    return " ".join(done.stderr.split())


def test_half_the_frames_is_worse_and_the_same_is_the_same(tmp_path: Path) -> None:
    clips = render_clips(sample_scenes(CLIPS, seed=77), tmp_path / "in")
    labels = [
        json.dumps({"video_id": name, "structured": structured_answer(scene)})
        for name, scene in clips.items()
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(labels))
    for frames in FRAMES:
        done = jobs.caption(
            *("--config", "configs/demo-structured.yaml"),
            *("--input", tmp_path / "in", "--output", tmp_path / f"out{frames}"),
            *("--run-id", f"frames{frames}"),
            *("--set", f"recipe.plan={{num_frames: {frames}, max_pixels: 12544}}"),
        )
        assert done.code == 0, done.stderr
    assert "average fell by" in compared(tmp_path, 8, 4)
    assert "No difference between frames8 and frames8 is more than noise" in compared(
        tmp_path, 8, 8
    )
