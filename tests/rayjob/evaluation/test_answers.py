"""What is made of the answers of the recipe ``ask``: by kind and overall."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rayjob.evaluation.suites.answers import bleu_1, rouge_l
from rayjob.output.store import TableStore
from schemas.tables import captions_of, results_table
from tests.rayjob.recipes.test_ask import IDS, written
from tests.support.evaluations import evaluate, scores
from tests.support.judge_server import JudgeServer, Reply
from tests.support.outputs import caption, together

ANSWERS: dict[str, list[str]] = {
    "back_ground_change_new": ["From a kitchen to a garden."] * 5,
    "object": [
        "Red car (count: 2, color: red, position: left); a dog (count: 3, color: black)",
        "car (3, color: red)",
        "person (count: 1, color: -, position: -)",
        "not a list",
        "dog (count: 1, color: black); car (count: 2, color: red, position: left)",
    ],
    "ocr": ["SALE today only", "sale today", "nothing", "SALE today only", "SALE today only"],
    "tone": ["neutral", "Neutral.", "positive", "NEUTRAL", "sad"],
}


def output(folder: Path) -> Path:
    """As a run of the recipe leaves it."""
    made = [
        results_table(
            f"{video}.mp4",
            captions=[
                caption(
                    f"{video}.mp4",
                    index=index,
                    caption=ANSWERS[kind][number],
                    details=json.dumps({"kind": kind, "question": "?"}),
                )
                for index, kind in enumerate(sorted(ANSWERS))
            ],
        )
        for number, video in enumerate(IDS)
    ]
    TableStore(folder).write_table(
        "captions/recipe=ask/run_id=r1/a.parquet", captions_of(together(made))
    )
    return folder


def run(tmp_path: Path, *arguments: Any) -> Any:
    questions = written(tmp_path / "qa")
    place = output(tmp_path / "out")
    return evaluate(
        "--suite", "answers", "--input", place, "--questions", questions, *arguments
    )  # fmt: skip


def test_scores_without_a_judge(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.code == 0, done.stderr
    found = done.values()
    assert found["choice accuracy"] == found["choice accuracy tone"] == 60.0
    # 2 of 2, 1 of 2, none, none, 2 of 2; of the cars named, whose label has a number, 1, 0 and 1.
    assert found["objects covered"] == 50.0
    assert found["objects counted"] == pytest.approx(100 * 2 / 3)
    assert found["OCR BLEU-1"] == pytest.approx(20 * (3 + bleu_1("sale today", "sale today only")))
    assert found["OCR ROUGE-L"] == pytest.approx(20 * (3 + 0.8))
    assert done.result["notes"] == ["5 answers in words need a judge, and there is none"]
    reasons = {row["video_id"]: row["reason"] for row in scores(tmp_path / "out")
               if row["dimension"] == "choice accuracy"}  # fmt: skip
    assert reasons["7303.mp4"] == "the answer is 'Positive', right is 'Neutral'"


def test_measures_of_text() -> None:
    assert bleu_1("a b c", "a b c") == rouge_l("A b c", "a b c.") == 1.0
    assert bleu_1("a a a", "a b c") == pytest.approx(1 / 3)
    assert bleu_1("a", "a b") == pytest.approx(0.36788, abs=1e-4)
    assert rouge_l("a x b", "a b") == pytest.approx(0.8)
    assert bleu_1("", "a") == rouge_l("", "a") == 0.0


def test_another_output_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "omni"
    rows = captions_of(results_table("a", captions=[caption("a")]))
    TableStore(place).write_table("captions/recipe=omni/run_id=r1/a.parquet", rows)
    done = evaluate(
        "--suite", "answers", "--input", place, "--questions", written(tmp_path / "qa")
    )  # fmt: skip
    assert done.code == 2 and "output of the recipe ask" in " ".join(done.stderr.split())
    done = evaluate("--suite", "answers", "--input", place)
    assert done.code == 2 and "--suite answers needs --questions" in " ".join(done.stderr.split())


def test_a_judge_grades_what_is_told_in_words(tmp_path: Path) -> None:
    def behaviour(asked: dict[str, Any]) -> Reply:
        assert "From a kitchen to a garden." in asked["messages"][-1]["content"]
        return Reply('{"correct": true}')

    with JudgeServer(behaviour) as server:
        done = run(tmp_path, "--judge-url", server.url, "--judge-model", "m")
    assert done.code == 0, done.stderr
    assert done.values()["answers judged right back_ground_change_new"] == 100.0
    assert done.figure("answers judged right")["n"] == 5 and not done.result["notes"]
