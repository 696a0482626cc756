"""Runs with a model that lies in a storage."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import jobs
from tests.support.services import put_objects
from tinyworld.render import write_video
from tinyworld.s3 import S3Gateway
from tinyworld.world import sample_scenes

TINY = jobs.ROOT / "models/tiny-omni"


@pytest.fixture
def bucket(gateway: S3Gateway, gateway_bucket: str) -> str:
    objects = {f"tiny/{path.name}": path.read_bytes() for path in TINY.iterdir()}
    put_objects(gateway.client(), gateway_bucket, objects | {"empty/readme.txt": b"nothing"})
    return f"s3://{gateway_bucket}"


def test_it_is_fetched_ahead_of_the_run_and_used_as_it_is(bucket: str, tmp_path: Path) -> None:
    where = ("--model", f"{bucket}/tiny", "--set", f"engine.model_dir={tmp_path}/models")
    warmed = subprocess.run(
        jobs.command([*jobs.DEMO, *where], module="rayjob.warm"),
        cwd=jobs.ROOT, capture_output=True, text=True, timeout=jobs.TIMEOUT,
    )  # fmt: skip
    assert warmed.returncode == 0, warmed.stderr
    (place,) = (path for path in (tmp_path / "models").iterdir() if path.is_dir())
    assert warmed.stdout.strip().endswith(f": {place}")
    assert (place / "model.safetensors").read_bytes() == (TINY / "model.safetensors").read_bytes()
    before = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}

    (scene,) = sample_scenes(1, seed=7)
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in/a.mp4", [(scene, 2.0)])
    done = jobs.caption(
        *jobs.DEMO, *where, "--input", tmp_path / "in", "--output", tmp_path / "out"
    )
    assert done.code == 0, done.stderr
    assert {path.name: path.stat().st_mtime_ns for path in place.iterdir()} == before
    (row,) = jobs.read(tmp_path / "out", "captions")
    assert row["model"] == f"{bucket}/tiny"
    assert row["caption"] and row["model_revision"]


@pytest.mark.parametrize(
    ("folder", "message"),
    [("empty", "no config.json"), ("nowhere", "there is nothing below")],
)
def test_a_folder_without_a_model_is_refused_at_once(
    folder: str, message: str, bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.mp4").write_bytes(b"not looked at")
    done = jobs.caption(
        "--model", f"{bucket}/{folder}", "--input", tmp_path / "in", "--output", tmp_path / "out"
    )
    assert done.code == 2, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
