"""Recipe ``ask``: several questions about a video over one decode, in the benchmark's files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from rayjob.recipes.ask import Ask, kind_of
from rayjob.recipes.questions import (
    TEXTS_QUESTION,
    Thing,
    chosen,
    load_questions,
    questions_of,
    things,
)
from rayjob.testing import ScriptedEngine, sample_video
from schemas.config import RecipeConfig
from schemas.errors import ConfigError, IncompleteError, RequestRejectedError, UnusableMaterialError
from schemas.recipe import Request, Video

IDS = ("7301", "7302", "7303", "7304", "7305")


TONES = ["Positive", "Negative", "Neutral"]
OBJECTS = (
    "car (count: 2, color: red, position: in the middle); "
    "dog (count: multiple, color: black and white, position: on the left)"
)


def published(question: str, answer: str, **more: Any) -> str:
    """A file of one kind of question: key by key as the benchmark has it, content of our own."""
    samples = [
        {"video_id": each, "path": f"/data/video/{each}.mp4", "answer": answer, **more}
        for each in IDS
    ]
    return json.dumps({"question": question, "valid_count": len(samples), "samples": samples})


FILES: dict[str, str] = {
    # As published, answers and options differ in case.
    "tone.json": published("What is the tone? Choose one option.", "neutral", options=TONES),
    "object.json": published(
        "List the objects: object (count: X, color: Y, position: Z); ...", OBJECTS
    ),
    "ocr.jsonl": "\n".join(
        json.dumps({"video_id": each, "ocr": ["SALE", "today only"]}) for each in IDS
    ),
    "back_ground_change_new.json": published(
        "Does the background change?", "From a kitchen to a garden."
    ),
}


def written(folder: Path) -> Path:
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def recipe(folder: Path, **config: Any) -> Ask:
    return Ask(RecipeConfig(options={"questions_file": str(folder)}, **config))


def video(asked: Ask, video_id: str = "shorts/7303.mp4") -> Video:
    return dataclasses.replace(sample_video(asked.plan), video_id=video_id)


def answers(request: Request) -> str:
    if "tone" in request.prompt:
        return "neutral."
    return OBJECTS if "objects" in request.prompt else "From a kitchen to a garden."


async def test_several_questions_over_one_decode(tmp_path: Path) -> None:
    asked = recipe(written(tmp_path / "qa"))
    engine = ScriptedEngine(answers)
    rows = await asked.caption(video(asked), engine)
    assert [(row.level, row.index, kind_of(row.details)) for row in rows] == [
        ("video", 0, "back_ground_change_new"),
        ("video", 1, "object"),
        ("video", 2, "ocr"),
        ("video", 3, "tone"),
    ]
    assert {row.caption_status for row in rows} == {"ok"}
    assert rows[3].caption == "neutral."
    clips = {id(request.clip) for request in engine.requests}
    assert len(clips) == 1 and len(engine.requests) == 4
    asked_for = {request.prompt for request in engine.requests}
    # The files' own words, and below them what a choice is among.
    assert "Does the background change?" in asked_for and TEXTS_QUESTION in asked_for
    (choice,) = (prompt for prompt in asked_for if "tone" in prompt)
    assert "- Positive\n- Negative\n- Neutral" in choice
    assert "neutral" not in choice and not any("SALE" in prompt for prompt in asked_for)


@pytest.mark.parametrize(
    ("file", "wrong", "right", "reason"),
    [
        ("tone.json", "It is sad.", "POSITIVE", "not one of the options"),
        ("object.json", "A car and a dog.", "car (2, color: red)", "not a list of objects"),
    ],
)
async def test_an_answer_of_another_form_is_asked_for_again(
    tmp_path: Path, file: str, wrong: str, right: str, reason: str
) -> None:
    asked = recipe(written(tmp_path / "qa") / file)
    (row,) = await asked.caption(video(asked), ScriptedEngine([wrong, right]))
    assert (row.caption, row.caption_status, row.attempts) == (right, "ok", 2)
    (row,) = await asked.caption(video(asked), ScriptedEngine([wrong] * 3))
    assert (row.caption_status, row.status_reason) == ("invalid", reason)


def test_objects_are_read() -> None:
    assert things(OBJECTS) == [Thing("car", 2), Thing("dog", None)]
    assert things('Lamp (count: "1", color: red);\nTV (3, on the wall); nothing') == [
        Thing("Lamp", 1),
        Thing("TV", 3),
    ]
    assert things("A car, twice.") == []


async def test_what_fails(tmp_path: Path) -> None:
    folder = written(tmp_path / "qa")
    asked = recipe(folder)
    with pytest.raises(UnusableMaterialError, match="no question about this video"):
        await asked.caption(video(asked, "other.mp4"), ScriptedEngine(answers))

    def refuses(request: Request) -> str:
        if "objects" in request.prompt:
            raise RequestRejectedError("too much")
        return answers(request)

    with pytest.raises(IncompleteError, match="too much") as failure:
        await asked.caption(video(asked), ScriptedEngine(refuses))
    assert [row.index for row in failure.value.rows] == [0, 2, 3]
    with pytest.raises(ConfigError, match="needs questions"):
        Ask()


@pytest.mark.parametrize("video_id", ["7301", "7301.mp4", "a/b/7301.webm"])
def test_a_video_is_found_by_its_name(tmp_path: Path, video_id: str) -> None:
    found = load_questions(str(written(tmp_path / "qa")))
    assert [each.kind for each in questions_of(found, video_id)] == sorted(
        name.partition(".")[0] for name in FILES
    )


@pytest.mark.parametrize(
    ("answer", "option"),
    [("calm", "Calm"), ("CALM.", "Calm"), ("b. Calm", "b. Calm"), ("B", "b. Calm"), ("sad", None)],
)
def test_choices_in_any_case(answer: str, option: str | None) -> None:
    options = ("a. Tense", "b. Calm") if option and option.startswith("b") else ("Tense", "Calm")
    assert chosen(answer, options) == option


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "no list 'samples'"),
        ('{"samples": [{"answer": "x"}]}', "sample 1: no video_id"),
        ('{"samples": [{"video_id": "a", "answer": "x"}]}', "no question, or no answer"),
        ('{"question": "?", "samples": [{"video_id": "a", "answer": []}]}', "that is a text"),
    ],
)
def test_a_file_that_is_none_of_them(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "tone.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        recipe(file)
