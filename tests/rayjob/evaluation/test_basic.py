"""What needs no judge: words, repetition, vocabulary, abnormal captions, valid structures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rayjob.evaluation.inputs import Item
from rayjob.evaluation.outcome import EVALUATION, Evaluation, load
from rayjob.evaluation.suites.basic import abnormality, repetition
from rayjob.output.store import TableStore
from rayjob.recipes.wording import words
from tests.rayjob.evaluation.test_inputs import write_run
from tests.rayjob.evaluation.test_structured import truths
from tests.support.evaluations import evaluate, jsonl, scores
from tests.support.outputs import caption


def test_words_and_repetition() -> None:
    assert words("A dog's life, at 3 p.m. — “Yes!”") == [
        "a", "dog's", "life", "at", "3", "p", "m", "yes",
    ]  # fmt: skip
    assert repetition(words("one two three four five")) == 0.0
    # Six runs of four words, of which the last two have been there before.
    assert repetition(words("a b c d e a b c d")) == pytest.approx(1 / 6)
    assert repetition(words("a b c d a b c d a b c d")) == pytest.approx(5 / 9)
    assert repetition([]) == 0.0


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("A dog runs.", "ok", None),
        ('He says: "Come!"', None, None),
        ("犬が走る。", None, None),
        ("  ", "ok", "empty"),
        ("...", None, "empty"),
        ("A dog runs and", None, "ends abruptly"),
        ("A dog runs.", "truncated", "ends abruptly"),
        ("It goes on and on and " + "on and " * 20 + "on.", None, "repeats"),
        (json.dumps(truths()[0]), None, None),
        (json.dumps(truths()[0])[:-10], None, "ends abruptly"),
    ],
)
def test_abnormal_captions(text: str, status: str | None, reason: str | None) -> None:
    assert abnormality(Item(video_id="v", text=text, status=status)) == reason


def test_figures_per_recipe_and_model(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "out")
    good, bad = json.dumps(truths()[0]), '{"subjects": []}'
    write_run(store, "omni", "run-1", [
        caption("a", caption="One two three.", model="m1"),
        caption("b", caption="One two three four five", model="m1", caption_status="truncated"),
        caption("c", caption="Four more words here.", model="m2"),
    ])  # fmt: skip
    write_run(store, "structured", "run-1", [
        caption(f"v{at}", caption=text, structured=text) for at, text in enumerate([good, bad])
    ])  # fmt: skip
    done = evaluate("--input", tmp_path / "out")
    assert done.code == 0, done.stderr
    groups = {
        (each["recipe"], each["model"]): {
            figure["name"]: figure["value"] for figure in each["figures"]
        }
        for each in done.result["basic"]
    }
    assert set(groups) == {("omni", "m1"), ("omni", "m2"), ("structured", "tiny")}
    first = groups["omni", "m1"]
    assert first == {
        "words": 4.0, "words median": 4.0, "repetition": 0.0, "distinct words": 100.0,
        "abnormal": 50.0, "status ok": 50.0, "vocabulary": 5.0,
    }  # fmt: skip
    assert groups["structured", "tiny"]["valid structure"] == 50.0
    assert "valid structure" not in first
    assert done.values()["omni m1 video: words"] == 4.0
    rows = scores(tmp_path / "out")
    reasons = {row["video_id"]: row["reason"] for row in rows if row["dimension"] == "abnormal"}
    assert (reasons["a"], reasons["b"]) == (None, "ends abruptly")
    (kept,) = load(store, EVALUATION, Evaluation)
    assert kept.run_id == "run-1"
    assert {each.name: each.value for each in kept.figures}["omni m2 video: words"] == 4.0


def test_long_captions_without_a_judge(tmp_path: Path) -> None:
    """Length from the text itself, with the duration from the labels."""
    told = {"half": 50, "same": 100, "double": 200, "none": 0}
    captions = jsonl(
        tmp_path / "c.jsonl",
        [{"video_id": name, "caption": "word " * count} for name, count in told.items()],
    )
    seconds = {"half": 300, "same": 599.9, "double": 600, "none": 2000}
    labels = jsonl(
        tmp_path / "l.jsonl",
        [
            {"video_id": name, "caption": "word " * 100, "duration_sec": seconds[name]}
            for name in told
        ],
    )
    done = evaluate(
        "--suite", "long", "--input", captions, "--labels", labels, "--scores", tmp_path / "out"
    )
    assert done.code == 0, done.stderr
    assert done.values() == pytest.approx(
        {
            "length": (50 + 100 + 200 / 3 + 0) / 4,
            "length [300s, 600s)": 75.0,
            "length [600s, 900s)": 200 / 3,
            "length over 1800s": 0.0,
        }
    )
    assert done.result["notes"] == ["no judge: neither quality nor relevance"]
    assert "200 words, the reference has 100" in {row["reason"] for row in scores(tmp_path / "out")}


def test_two_sets_by_their_statistics(tmp_path: Path) -> None:
    rows = [{"video_id": f"v{at}", "caption": "One two three four."} for at in range(20)]
    short = [{**row, "caption": "One."} for row in rows]
    a, b = jsonl(tmp_path / "a.jsonl", rows), jsonl(tmp_path / "b.jsonl", short)
    done = evaluate("--compare", a, b, "--scores", tmp_path / "out")
    assert done.code == 0, done.stderr
    assert "words fell by 3" in done.result["verdict"]


def test_two_recipes_of_one_output(tmp_path: Path) -> None:
    """By the names that they have in the tables."""
    for name, text in (("whole", "One two three four."), ("no-context", "One.")):
        write_run(
            TableStore(tmp_path), name, "r1", [caption(f"v{at}", caption=text) for at in range(20)]
        )
    done = evaluate("--input", tmp_path, "--compare", "whole", "no-context")
    assert done.code == 0, done.stderr
    assert "From whole to no-context" in done.result["verdict"]
    assert "words fell by 3" in done.result["verdict"]
