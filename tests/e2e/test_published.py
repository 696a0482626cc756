"""What the published systems have beside one caption of a clip, with the embedded model."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import jobs
from tests.support.evaluations import evaluate
from tinyworld import questions, tasks
from tinyworld.render import write_video
from tinyworld.world import VISUAL_ATTRIBUTES, Scene, grade, sample_scenes

CLIPS = 20
PLANS = {
    "heard": "{num_frames: 0, audio_rate: 16000}",
    "seen": "{num_frames: 8, max_pixels: 12544}",
    "ask": "{num_frames: 8, max_pixels: 12544, audio_rate: 16000}",
}


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    some = [scene for scene in sample_scenes(200, seed=31) if scene.sound != "silence"]
    return {f"{number:02d}.mp4": scene for number, scene in enumerate(some[:CLIPS])}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, scenes: dict[str, Scene]) -> Path:
    work = tmp_path_factory.mktemp("published")
    (work / "in").mkdir()
    for name, scene in scenes.items():
        write_video(work / "in" / name, [(scene, 4.0)])
    return work


def captioned(work: Path, recipe: str, *more: Any) -> list[dict[str, Any]]:
    """The rows of one captioning; all go into one output."""
    done = jobs.caption(
        *jobs.DEMO, "--input", work / "in", "--output", work / "out", "--recipe", recipe,
        "--prompt-file", f"tinyworld/prompts/{recipe}.txt",
        "--set", f"recipe.plan={PLANS[recipe]}", *more,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    rows = [row for row in jobs.read(work / "out", "captions") if row["recipe"] == recipe]
    assert {row["video_id"] for row in rows} == {path.name for path in (work / "in").iterdir()}
    return rows


def test_what_only_the_sound_and_only_the_picture_tells(
    work: Path, scenes: dict[str, Scene]
) -> None:
    """Stages of annotation, side by side: no word of the one in the other."""
    heard, seen = captioned(work, "heard"), captioned(work, "seen")
    right = [row["caption"] == tasks.heard(scenes[row["video_id"]]).answer for row in heard]
    assert np.mean(right) >= 0.9
    for row in heard:
        told = grade(row["caption"], scenes[row["video_id"]], ("shape", "colour"))
        assert not any(told.values())
    marks = [grade(row["caption"], scenes[row["video_id"]], VISUAL_ATTRIBUTES) for row in seen]
    assert np.mean([all(each.values()) for each in marks]) >= 0.9
    assert not any("sound" in row["caption"] or "play" in row["caption"] for row in seen)


def questions_about(folder: Path, scenes: dict[str, Scene]) -> None:
    """Files in the form of the published benchmark, one for each kind of question."""
    rng = random.Random(5)
    folder.mkdir()
    for kind, asked in questions.ASKED.items():
        samples: list[dict[str, Any]] = []
        for name, scene in scenes.items():
            each = questions.question(kind, [scene], rng)
            sample = {"video_id": name[:-4], "path": f"/data/{name}", "answer": each.answer}
            samples.append(sample | ({"options": [*each.options]} if each.options else {}))
        if kind == "ocr":
            lines = [{"video_id": s["video_id"], "ocr": [s["answer"]]} for s in samples]
            (folder / "ocr.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        else:
            data = {"question": asked, "valid_count": len(samples), "samples": samples}
            (folder / f"{kind}.json").write_text(json.dumps(data), encoding="utf-8")


@pytest.mark.slow
def test_questions(work: Path, scenes: dict[str, Scene]) -> None:
    questions_about(work / "qa", scenes)
    rows = captioned(work, "ask", "--set", f"recipe.options.questions_file={work / 'qa'}")
    assert len(rows) == CLIPS * len(questions.ASKED)
    done = evaluate(
        "--suite", "answers", "--input", work / "out", "--recipe", "ask", "--questions",
        work / "qa",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    found = done.values()
    for name in ("choice accuracy", "objects covered", "objects counted", "OCR BLEU-1"):
        assert found[name] >= 90, found
