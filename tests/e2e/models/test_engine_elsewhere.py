"""A whole run with its engine elsewhere: a real server whose answers are decided here."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.support import jobs
from tests.support.judge_server import JudgeServer, Reply
from tinyworld.demo import render_clips
from tinyworld.world import sample_scenes

CLIPS = 8
KEY = "sk-very-secret-0123456789"
USED = {"prompt_tokens": 1000, "completion_tokens": 50}
LISTED = Reply(body=json.dumps({"data": [{"id": "their/model"}]}))


def told(asked: dict[str, Any]) -> str:
    """A caption that tells the colour of the first picture."""
    (encoded, *_) = (
        part["image_url"]["url"].split(",")[1]
        for part in asked["messages"][-1]["content"]
        if part["type"] == "image_url"
    )
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    red, green, blue = picture.mean(axis=(0, 1))
    return f"Something of {red:.1f} {green:.1f} {blue:.1f} moves."


def first_picture(path: Path) -> np.ndarray[Any, Any]:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


@pytest.mark.slow
def test_a_run(tmp_path: Path) -> None:
    clips = render_clips(sample_scenes(CLIPS, seed=5), tmp_path / "in")
    (tmp_path / "key").write_text(KEY)
    asked = itertools.count()

    def behaviour(body: dict[str, Any]) -> Reply:
        number = next(asked)
        if number % 3 == 0:
            return Reply(status=429, headers={"Retry-After": "0.1"})
        return Reply(told(body), usage=USED, delay=0.3 * (number % 4))

    with JudgeServer(behaviour, models=LISTED) as server:
        settings = {
            "kind": "openai",
            "model": "their/model",
            "endpoint.url": server.url,
            "endpoint.key_file": tmp_path / "key",
            "endpoint.price_per_million_prompt_tokens": 2,
            "endpoint.price_per_million_output_tokens": 10,
        }
        sets = [
            part for name, value in settings.items() for part in ("--set", f"engine.{name}={value}")
        ]
        command = ("--input", tmp_path / "in", "--output", tmp_path / "out", *sets)
        refused = jobs.caption(*command, "--set", "engine.model=nobody", "--dry-run")
        done = jobs.caption(*command)
    assert refused.code == 2 and "does not list the model 'nobody'" in refused.stderr
    assert done.code == 0, done.stderr
    assert (done.summary["videos_captioned"], done.summary["videos_failed"]) == (CLIPS, 0)
    rows = jobs.read(tmp_path / "out", "captions")
    assert {row["video_id"] for row in rows} == set(clips)
    assert {row["model"] for row in rows} == {"their/model"}
    assert {(row["prompt_tokens"], row["output_tokens"]) for row in rows} == {(1000, 50)}
    # Each has the answer to its own request, in whatever order they came.
    shown = {name: first_picture(tmp_path / "in" / name).mean(axis=(0, 1)) for name in clips}
    for row in rows:
        colour = np.array(re.findall(r"[\d.]+\d", row["caption"]), float)
        away = {name: np.abs(colour - mean).max() for name, mean in shown.items()}
        assert min(away, key=away.__getitem__) == row["video_id"], away
    assert done.summary["cost"] == {
        "gpu_hours": 0.0,
        "money": round(CLIPS * (1000 * 2 + 50 * 10) / 1e6, 4),
    }
    assert set(server.keys) == {f"Bearer {KEY}"}
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files and not [path for path in files if KEY.encode() in path.read_bytes()]
    assert KEY not in done.stdout + done.stderr
