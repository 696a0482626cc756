"""An executor of several that is killed: no success, and nothing is lost or done twice."""

import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.support import jobs
from tinyworld.render import write_video
from tinyworld.world import sample_scenes

pytestmark = pytest.mark.slow

CLIPS = 40


@pytest.mark.timeout(600)
def test_the_run_ends_and_the_next_one_does_the_rest(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    names = [f"{number:02d}.mp4" for number in range(CLIPS)]
    for name, scene in zip(names, sample_scenes(CLIPS, seed=21), strict=True):
        write_video(tmp_path / "in" / name, [(scene, 3.0)])
    output = tmp_path / "out"
    arguments = [
        *jobs.DEMO,
        *jobs.TWO_EXECUTORS,
        *("--input", tmp_path / "in", "--output", output),
        # Slow and in small steps, so that there is a middle to be killed in.
        *("--set", "shards.rows=4", "--set", "engine.videos_in_flight=1"),
    ]
    process = subprocess.Popen(
        jobs.command(arguments), cwd=jobs.ROOT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + jobs.TIMEOUT
    while not list(output.glob("captions/**/*.parquet")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    jobs.executors_of(psutil.Process(process.pid))[0].kill()
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1, stderr
    assert "run the same command again to go on" in " ".join(stderr.split())
    assert not list(output.glob("runs/*/_SUCCESS"))
    kept = jobs.captions(output)
    assert 0 < len(kept) < CLIPS

    done = jobs.caption(*arguments)
    assert done.code == 0, done.stderr
    final = jobs.captions(output)
    assert sorted(final) == names
    assert kept.items() <= final.items()
    assert done.summary["videos_skipped"] == len(kept)
    assert done.summary["videos_captioned"] == CLIPS - len(kept)
