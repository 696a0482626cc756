"""Accuracy per field on the embedded world: exactly the planted errors are found."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path
from typing import Any, get_args

import pytest

from rayjob.evaluation import fields
from rayjob.recipes.rules import schema_problem
from schemas.structured import ShotAngle, ShotPosition, ShotType
from tests.support.evaluations import evaluate, jsonl, scores
from tests.support.judge_server import JudgeServer, Reply, part, prompt_of
from tinyworld.tasks import structured_answer
from tinyworld.world import sample_scenes

OPTIONS: dict[str, tuple[str, ...]] = {
    "shot_type": get_args(ShotType),
    "shot_angle": get_args(ShotAngle),
    "shot_position": get_args(ShotPosition),
}
CLIPS = 50
PLANTED = dict(zip(fields.FIELDS, range(0, 4 * len(fields.FIELDS), 4), strict=False))
"""Errors per field: 0, 4, 8, ... of fifty."""


def wrong(name: str, value: Any) -> Any:
    if name == "is_main_subject":
        return not value
    if name in OPTIONS:
        return next(option for option in OPTIONS[name] if option != value)
    return f"not {value}"


def spoil(answer: dict[str, Any], name: str) -> None:
    holder = answer["subjects"][0] if name in fields.SUBJECT_FIELDS else answer
    *parents, last = name.split(".")
    for parent in parents:
        holder = holder[parent]
    holder[last] = wrong(name, holder[last])


def truths() -> list[dict[str, Any]]:
    return [structured_answer(scene) for scene in sample_scenes(CLIPS, seed=5)]


def spoilt() -> list[dict[str, Any]]:
    """The truth with each field wrong in as many clips as PLANTED says, here and there."""
    answers = copy.deepcopy(truths())
    for shift, (name, count) in enumerate(PLANTED.items()):
        for step in range(count):
            spoil(answers[(7 * step + shift) % CLIPS], name)
    return answers


def restyled(value: Any) -> Any:
    """The same in other letters: what a normalised match must see through."""
    if isinstance(value, dict):
        return {key: restyled(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [restyled(inner) for inner in value]
    free = isinstance(value, str) and not any(value in each for each in OPTIONS.values())
    return f"The {value.upper()}." if free and value else value


def expected(planted: dict[str, int]) -> dict[str, float]:
    accuracy = {name: 100 * (1 - planted[name] / CLIPS) for name in fields.FIELDS}
    return accuracy | {"average": sum(accuracy.values()) / len(accuracy)}


def our_labels(path: Path) -> Path:
    return jsonl(
        path,
        [{"video_id": f"v{at:02d}", "structured": each} for at, each in enumerate(truths())],
    )


def sky_csv(path: Path, answers: list[dict[str, Any]]) -> Path:
    """What SkyCaptioner's script writes."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "structural_caption"])
        for at, each in enumerate(answers):
            writer.writerow([f"v{at:02d}", json.dumps(each, indent=2)])
    return path


def test_exactly_the_planted_errors(tmp_path: Path) -> None:
    answers = sky_csv(tmp_path / "answers.csv", restyled(spoilt()))
    done = evaluate(
        "--suite", "structured", "--input", answers, "--scores", tmp_path / "out",
        "--labels", our_labels(tmp_path / "labels.jsonl"),
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert list(done.values()) == [*fields.FIELDS, "average"]
    assert done.values() == pytest.approx(expected(PLANTED))
    for name in fields.FIELDS:
        method = "equality" if name in fields.CLOSED_FIELDS else "normalised match"
        assert done.figure(name)["method"] == method
        assert done.figure(name)["n"] == CLIPS
    rows = [row for row in scores(tmp_path / "out") if row["score"] == 0.0]
    assert len(rows) == sum(PLANTED.values())
    assert all("labelled" in row["reason"] and "answered" in row["reason"] for row in rows)
    basic = {each["name"]: each["value"] for each in done.result["basic"][0]["figures"]}
    assert basic["valid structure"] == 100.0


def test_the_judge_decides_on_free_text_only(tmp_path: Path) -> None:
    """A judge that takes "not X" for the same as "X" where the field is the lighting."""

    def lenient(asked: dict[str, Any]) -> Reply:
        same = "The field is lighting:" in prompt_of(asked)
        assert part(asked, "second") == f"not {part(asked, 'first')}"
        return Reply(json.dumps({"same": same}))

    answers = sky_csv(tmp_path / "answers.csv", spoilt())
    # What an evaluation without a judge found does not stay beside what the judge says.
    evaluate(
        "--suite", "structured", "--input", answers, "--scores", tmp_path / "out",
        "--labels", our_labels(tmp_path / "labels.jsonl"),
    )  # fmt: skip
    with JudgeServer(lenient) as server:
        done = evaluate(
            "--suite", "structured", "--input", answers, "--scores", tmp_path / "out",
            "--labels", our_labels(tmp_path / "labels.jsonl"), "--judge-url", server.url,
            "--judge-model", "j",
        )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.values() == pytest.approx(expected(PLANTED | {"lighting": 0}))
    assert done.figure("lighting")["method"] == "judge + normalised match"
    assert done.figure("shot_type")["method"] == "equality"
    # Equal pairs of texts are one question, however many videos have them.
    free = [name for name in fields.FIELDS if name not in fields.CLOSED_FIELDS]
    assert len(scores(tmp_path / "out")) == CLIPS * len(fields.FIELDS)
    wrongs = sum(PLANTED[name] for name in free)
    prompts = [prompt_of(asked) for asked in server.requests]
    assert len(prompts) == len(set(prompts)) == done.result["asked"] < wrongs
    assert done.result["unscored"]["of"] == wrongs


def test_answers_that_are_missing_or_no_structure(tmp_path: Path) -> None:
    label = truths()[0]
    answers = [json.dumps(label), json.dumps(label)[:-20], json.dumps({**label, "subjects": []})]
    rows = [{"video_id": f"v{at:02d}", "structured": each} for at, each in enumerate(answers)]
    done = evaluate(
        "--suite", "structured", "--scores", tmp_path / "out",
        "--input", jsonl(tmp_path / "answers.jsonl", rows),
        "--labels", jsonl(
            tmp_path / "labels.jsonl",
            [{"video_id": f"v{at:02d}", "structured": json.dumps(label)} for at in range(4)],
        ),
    )  # fmt: skip
    assert done.code == 0, done.stderr
    # Right in the first; nothing in the second; in the third all but what is of a subject.
    for name, value in done.values().items():
        if name != "average":
            assert round(value) == (33 if name in fields.SUBJECT_FIELDS else 67), name
    notes = " ".join(done.result["notes"])
    assert "1 of 4 labelled videos have no caption" in notes
    assert "not a structure, so wrong in every field: 1 captions" in notes


def test_labels_in_columns(tmp_path: Path) -> None:
    """A flat table with some of the fields; what has no label counts nowhere."""
    label = truths()[0]
    (tmp_path / "labels.csv").write_text(
        "video_id,shot_type,TYPES_sub_type,is_main_subject,lighting\n"
        f"v00,{label['shot_type']},Something else,True,\n"
    )
    done = evaluate(
        "--suite", "structured", "--input", sky_csv(tmp_path / "a.csv", [label]),
        "--labels", tmp_path / "labels.csv", "--scores", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    values = {"shot_type": 100.0, "TYPES.sub_type": 0.0, "is_main_subject": 100.0}
    assert done.values() == pytest.approx(values | {"average": 200 / 3})


def subject(kind: str, look: str, action: str, *, main: bool) -> dict[str, Any]:
    return {
        "TYPES": {"type": "Human", "sub_type": kind},
        "appearance": look,
        "action": action,
        "expression": "",
        "position": "left",
        "is_main_subject": main,
    }


def test_subjects_are_matched_by_what_they_are() -> None:
    woman = subject("Woman", "red coat", "walks", main=True)
    child = subject("Child", "blue hat", "waves", main=False)
    dog = subject("Dog", "brown fur", "sleeps", main=False)
    lady = subject("Woman", "scarlet coat", "is walking", main=True)
    assert fields.match_subjects([woman, child], [child, lady]) == [lady, child]
    assert fields.match_subjects([woman, child, dog], [dog, lady]) == [lady, None, dog]
    assert fields.match_subjects([child], [dog, lady, child]) == [child]
    # As many pairs as there can be, also of things that are nothing alike.
    assert fields.match_subjects([child], [{}]) == [{}]
    assert fields.match_subjects([], [dog]) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"shot_type": "very_close"}, "shot_type: Input should be 'long_shot'"),
        ({"lighting": None}, "lighting: Input should be a valid string"),
        ({"camera_motion": 3}, "camera_motion: Input should be a valid string"),
        ({"subjects": {}}, "subjects: Input should be a valid"),
        ({"subjects": [{"TYPES": "Human"}]}, "subjects.0.TYPES: Input should be"),
    ],
)
def test_what_a_valid_structure_is(change: dict[str, Any], reason: str | None) -> None:
    found = schema_problem(json.dumps({**truths()[0], **change}), strict=True)
    assert (found or "").startswith(reason or "") and bool(found) == bool(reason)


def test_a_cut_answer_is_no_structure() -> None:
    assert "Invalid JSON" in (schema_problem(json.dumps(truths()[0])[:50]) or "")
