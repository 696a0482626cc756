"""Recipe ``ask``: several questions about a video over one decode, in the benchmark's files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from rayjob.recipes.ask import Ask, kind_of
from rayjob.recipes.questions import chosen, load_questions, questions_of
from rayjob.testing import ScriptedEngine, sample_video
from schemas.config import RecipeConfig
from schemas.errors import ConfigError, IncompleteError, RequestRejectedError, UnusableMaterialError
from schemas.recipe import Request, Video

IDS = ("7301", "7302", "7303", "7304", "7305")


def sample(video_id: str, answer: Any, **more: Any) -> dict[str, Any]:
    return {"video_id": video_id, "path": f"video/{video_id}.mp4", "answer": answer, **more}


TONES = ["calm", "tense", "joyful"]
FILES: dict[str, dict[str, Any]] = {
    "tone": {
        "question": "What is the tone of the voice?",
        "valid_count": 5,
        # As published, answers and options differ in case.
        "samples": [sample(each, "Calm", options=TONES) for each in IDS],
    },
    "objects": {
        "question": "Which objects are there?",
        "valid_count": 5,
        "samples": [
            sample(each, [{"name": "red car", "count": 2}, {"name": "dog", "count": 1}])
            for each in IDS
        ],
    },
    "ocr": {
        "question": "Which text is on the screen?",
        "valid_count": 5,
        "samples": [sample(each, "SALE today only") for each in IDS],
    },
    "background_change": {
        "question": "How does the background change?",
        "valid_count": 5,
        "samples": [sample(each, "From a kitchen to a garden.") for each in IDS],
    },
}


def written(folder: Path) -> Path:
    folder.mkdir()
    for kind, data in FILES.items():
        (folder / f"{kind}.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


def recipe(folder: Path, **config: Any) -> Ask:
    return Ask(RecipeConfig(options={"questions_file": str(folder)}, **config))


def video(asked: Ask, video_id: str = "shorts/7303.mp4") -> Video:
    return dataclasses.replace(sample_video(asked.plan), video_id=video_id)


def answers(request: Request) -> str:
    if "tone" in request.prompt:
        return "Calm."
    return "[]" if request.json_schema else "From a kitchen to a garden."


async def test_several_questions_over_one_decode(tmp_path: Path) -> None:
    asked = recipe(written(tmp_path / "qa"))
    engine = ScriptedEngine(answers)
    rows = await asked.caption(video(asked), engine)
    assert [(row.level, row.index, kind_of(row.details)) for row in rows] == [
        ("video", 0, "background_change"),
        ("video", 1, "objects"),
        ("video", 2, "ocr"),
        ("video", 3, "tone"),
    ]
    assert {row.caption_status for row in rows} == {"ok"}
    assert rows[3].caption == "Calm."
    clips = {id(request.clip) for request in engine.requests}
    assert len(clips) == 1 and len(engine.requests) == 4
    choice = next(request for request in engine.requests if "tone" in request.prompt)
    assert "- calm\n- tense\n- joyful" in choice.prompt and choice.json_schema is None
    objects = next(request for request in engine.requests if "objects" in request.prompt)
    assert objects.json_schema is not None and objects.json_schema["type"] == "array"
    assert "Calm" not in "".join(request.prompt for request in engine.requests)


async def test_a_choice_that_is_none_is_asked_for_again(tmp_path: Path) -> None:
    folder = written(tmp_path / "qa")
    for kind in ("objects", "ocr", "background_change"):
        (folder / f"{kind}.json").unlink()
    asked = recipe(folder)
    (row,) = await asked.caption(video(asked), ScriptedEngine(["It is sad.", "TENSE"]))
    assert (row.caption, row.caption_status, row.attempts) == ("TENSE", "ok", 2)
    (row,) = await asked.caption(video(asked), ScriptedEngine(["sad", "sad", "sad"]))
    assert (row.caption_status, row.status_reason) == ("invalid", "not one of the options")


async def test_what_fails(tmp_path: Path) -> None:
    folder = written(tmp_path / "qa")
    asked = recipe(folder)
    with pytest.raises(UnusableMaterialError, match="no question about this video"):
        await asked.caption(video(asked, "other.mp4"), ScriptedEngine(answers))

    def refuses(request: Request) -> str:
        if request.json_schema:
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
    assert [each.kind for each in questions_of(found, video_id)] == sorted(FILES)


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
    ],
)
def test_a_file_that_is_none_of_them(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "tone.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        recipe(file)
