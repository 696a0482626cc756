"""Secrets in inputs, settings and the environment reach no file, no log and no process list."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support import jobs
from tinyworld.render import write_video
from tinyworld.world import sample_scenes

MARK = "hushhush"

OPENS = (
    "?access_token={}", "?v=1&sharekey={}", "?key={}", "?X-Amz-Signature={}", "?{}",
    "?sv=2022&se=2025&sp=r&sig={}%3D", "?Policy=x&Signature={}&Key-Pair-Id=k", "#access_token={}",
    "?file=http%3A%2F%2Fh%2Fa%3Ftoken%3D{}", "?hdnts=exp=1~acl=/*~hmac={}",
)  # fmt: skip
"""What stands behind the addresses of good clips."""

FAILS = (
    "http://{place}/nothing.mp4?access_token={secret}",
    "http://user:{secret}@{place}/nothing.mp4",
    "http://user:{secret}@127.0.0.1:9/clip.mp4?key={secret}",
    "gopher://user:{secret}@host/clip.mp4?key={secret}",
    "ftp://user:{secret}@127.0.0.1:9/clip.mp4",
    "http://{place}/hdnts=exp=1~hmac={secret}/nothing.mp4",
    "http://{place}/nothing.mp4;token={secret}",
    "http://user:pa/{secret}@{place}/nothing.mp4",
    "http://user:{secret}?ss@{place}/nothing.mp4",
    "http://127.0.0.1:9?token={secret}",
    "zip://a.mp4::http://user:{secret}@{place}/a.zip?token={secret}",
)


@pytest.fixture
def ray_folder() -> Iterator[str]:
    """Short, as the paths of sockets must be."""
    folder = tempfile.mkdtemp(prefix="rj-", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def command_lines() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode("utf-8", "replace"))
        except OSError:
            continue  # it ended in this moment
    return "\n".join(found)


def text_of(path: Path) -> str:
    """A file as a reader may see it: tables decoded, anything else byte by byte."""
    raw = path.read_bytes().decode("latin-1")
    if path.suffix != ".parquet":
        return raw
    table = pq.read_table(path)
    return raw + json.dumps([table.to_pylist(), str(table.schema)], default=str)


def test_nothing_planted_is_found(
    tmp_path: Path, moto_url: str, moto_bucket: str, moto_client: Any, ray_folder: str
) -> None:
    write_video(tmp_path / "clip.mp4", [(sample_scenes(1, seed=5)[0], 2.0)])
    clip = (tmp_path / "clip.mp4").read_bytes()
    place = f"{moto_url.removeprefix('http://')}/{moto_bucket}"
    rows = []
    for number, behind in enumerate(OPENS):
        key = f"{number}.mp4"
        moto_client.put_object(Bucket=moto_bucket, Key=key, Body=clip, ACL="public-read")
        rows.append(f"http://{place}/{key}{behind.format(f'{MARK}-good-{number}')}")
    for number, form in enumerate(FAILS):
        rows.append(form.format(place=place, secret=f"{MARK}-bad-{number}"))
    planted = [
        {
            "video_id": f"https://h/{number}?token={MARK}-id" if number else "0",
            "uri": uri, "page": f"https://h/p?token={MARK}-page",
            "deep": {"links": [f"https://me:{MARK}-link@host/x"]}, "note": "kept as it is",
            "text": f"see https://h/t?token={MARK}-text for more",
        }
        for number, uri in enumerate(rows)
    ]  # fmt: skip
    (tmp_path / "in").mkdir()
    manifest = tmp_path / "in/videos.jsonl"
    manifest.write_text("".join(f"{json.dumps(row)}\n" for row in planted))
    config = tmp_path / "config.yaml"
    demo = (jobs.ROOT / "configs/demo.yaml").read_text()
    config.write_text(
        demo.replace("engine:\n", f"engine:\n  vllm_args: {{hf_token: {MARK}-token}}\n")
        + f"storage: {{retries: 0, places: [{moto_url}]}}\n"
    )
    secrets = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN")
    env = os.environ | {name: f"{MARK}-{name}" for name in secrets} | {"RAY_TMPDIR": ray_folder}
    output = tmp_path / "out"
    process = subprocess.Popen(
        jobs.command(["--config", config, "--input", manifest, "--output", output,
                      "--run-id", "r1"]),
        cwd=jobs.ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    seen, modes = "", set[int]()
    with (tmp_path / "stdout").open("w") as copy:
        while process.poll() is None:
            seen += command_lines() if MARK not in seen else ""
            seen = seen if MARK in seen else ""
            modes |= {stat.S_IMODE(each.stat().st_mode) for each in output.glob("runs/r1/todo/*")}
            time.sleep(0.3)
        stdout, stderr = process.communicate()
        copy.write(stdout + stderr)
    assert process.returncode == 0, stderr
    summary = json.loads(stdout.strip().splitlines()[-1])
    assert (summary["videos_captioned"], summary["videos_failed"]) == (len(OPENS), len(FAILS))

    assert modes == {0o600}
    assert not list(output.glob("runs/r1/todo/*"))
    assert MARK not in seen, "a process list shows it"
    written = [path for path in output.rglob("*") if path.is_file()]
    logs = [path for path in Path(ray_folder).rglob("logs/**/*") if path.is_file()]
    assert len(written) > 6 and len(logs) > 6
    leaks = [str(path) for path in [*written, *logs, tmp_path / "stdout"] if MARK in text_of(path)]
    assert not leaks
    told = {row["video_id"]: json.loads(row["metadata"]) for row in jobs.read(output, "captions")}
    assert told["0"] == {
        "page": "https://h/p", "deep": {"links": ["https://host/x"]}, "note": "kept as it is",
        "text": "see https://h/t for more",
    }  # fmt: skip
