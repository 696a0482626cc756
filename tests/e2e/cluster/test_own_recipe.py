"""The example recipe, copied out of the tree, captions the demo's clips: here and on two nodes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayjob.output.store import TableStore
from tests.support import jobs
from tests.support.outputs import ids_in
from tests.support.ray_nodes import RayCluster
from tests.support.services import new_bucket
from tinyworld.demo import MUST_BE_RIGHT, render_clips
from tinyworld.s3 import S3Gateway
from tinyworld.world import Scene, grade, sample_scenes

JOB = ("--config", jobs.ROOT / "examples/plain_words.yaml")
MODEL = ("--model", str(jobs.ROOT / "models/tiny-omni"))
CLIPS = 12


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Scene]]:
    """The first clips of the demo, and what they show."""
    folder = tmp_path_factory.mktemp("clips")
    return folder, render_clips(sample_scenes(CLIPS, seed=2026), folder)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with nothing but the recipe's file."""
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(jobs.ROOT / "examples/plain_words.py", folder)
    return folder


def test_the_example_captions_the_demo_clips(
    clips: tuple[Path, dict[str, Scene]], own: Path, tmp_path: Path
) -> None:
    folder, scenes = clips
    done = jobs.caption(
        *JOB, "--recipe", f"{own}/plain_words.py:PlainWords",
        "--input", folder, "--output", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    told = jobs.captions(tmp_path / "out")
    assert told.keys() == scenes.keys()
    right = [all(grade(told[name], scenes[name], MUST_BE_RIGHT).values()) for name in scenes]
    assert sum(right) >= 0.9 * CLIPS
    assert (tmp_path / "out/captions/recipe=plain-words").is_dir()


@pytest.fixture(scope="module")
def cluster(gateway: S3Gateway) -> Iterator[RayCluster]:
    """The head decodes; the other node has the only (logical) GPU, and so the engine."""
    with RayCluster(cpus=1) as cluster:
        cluster.add("engine", cpus=1, gpus=1)
        yield cluster


@pytest.mark.slow
@pytest.mark.parametrize("way", ["shell", "submitted"])
def test_the_example_reaches_another_node(
    cluster: RayCluster,
    gateway: S3Gateway,
    clips: tuple[Path, dict[str, Scene]],
    own: Path,
    way: str,
) -> None:
    """Neither node can import the file's module by name; input and output are in a bucket."""
    folder, scenes = clips
    bucket = new_bucket(gateway.client())
    for path in folder.iterdir():
        gateway.client().upload_file(str(path), bucket, f"in/{path.name}")
    arguments = [
        *JOB, *MODEL, "--recipe", "plain_words.py:PlainWords", "--gpus-per-engine", "1",
        "--input", f"s3://{bucket}/in", "--output", f"s3://{bucket}/out",
    ]  # fmt: skip
    command, env = jobs.command(arguments), cluster.env | {"RAY_ADDRESS": cluster.address}
    if way == "submitted":
        submit = ["--address", cluster.dashboard, "--working-dir", ".", "--", "python"]
        command = [sys.executable, "-m", "rayjob.submit", *submit, *command[1:]]
        del env["RAY_ADDRESS"]
    done = subprocess.run(command, cwd=own, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(ids_in(TableStore(f"s3://{bucket}/out"), "captions")) == sorted(scenes)
