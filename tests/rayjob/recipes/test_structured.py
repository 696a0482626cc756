"""The recipes structured, t2v and i2v against a scripted asker: asked what, kept what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from rayjob.recipes import find_recipe
from rayjob.recipes.material import Material, SourceRow
from rayjob.testing import ScriptedEngine, sample_video
from schemas.config import RecipeConfig
from schemas.errors import AbnormalCaptionError, ConfigError, UnusableMaterialError
from schemas.recipe import Recipe, Video
from schemas.structured import StructuredCaption
from schemas.tables import CaptionRow
from tests.rayjob.recipes.fusion.test_structured_text import DOCUMENT, TEXT

CAMERA = "The camera follows Anna to the USS Hornet."


def recipe(name: str, **config: Any) -> Recipe:
    return find_recipe(name)(RecipeConfig(**config))


async def captioned(engine: ScriptedEngine, **config: Any) -> CaptionRow:
    asking = recipe("structured", **config)
    (row,) = await asking.caption(sample_video(asking.plan), engine)
    return row


async def fused(
    engine: ScriptedEngine,
    *,
    task: str = "t2v",
    caption: str = TEXT,
    level: str = "video",
    **config: Any,
) -> CaptionRow:
    row = SourceRow(
        level=level,
        index=0,
        start_sec=None,
        end_sec=None,
        caption=caption,
        structured=None,
        caption_status="ok",
    )
    material = Material(rows=(row,), info=None).to_json()
    video = Video(video_id="a.mp4", uri="/v/a.mp4", metadata='{"k": 1}', material=material)
    rows: Sequence[CaptionRow] = await recipe(task, **config).caption(video, engine)
    (made,) = rows
    return made


async def test_the_schema_guides_and_types_the_answer() -> None:
    engine = ScriptedEngine([TEXT])
    row = await captioned(engine)
    (request,) = engine.requests
    assert request.json_schema == StructuredCaption.model_json_schema()
    assert (request.generation.temperature, request.generation.max_tokens) == (0.05, 2048)
    assert (row.caption, row.caption_status, row.num_frames) == (TEXT, "ok", 16)
    assert row.structured_fields == DOCUMENT
    assert json.loads(row.structured or "") == DOCUMENT


async def test_an_answer_off_the_schema_is_asked_for_again() -> None:
    row = await captioned(ScriptedEngine(["{", TEXT.replace("long_shot", "wide_shot"), TEXT]))
    assert (row.caption_status, row.attempts, row.structured_fields) == ("ok", 3, DOCUMENT)


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        # The scripted asker cuts off what ends in "~".
        ("{~", "truncated", "cut off at the token limit"),
        (f"{TEXT}~", "truncated", "cut off at the token limit"),
        ("A dog.", "invalid", "not as the schema says"),
        (json.dumps(DOCUMENT | {"subjects": {}}), "invalid", "subjects: Input should be a valid"),
    ],
)
async def test_what_stays_wrong_is_kept_with_the_reason(
    text: str, status: str, reason: str
) -> None:
    row = await captioned(ScriptedEngine([text, text, text]))
    assert (row.caption, row.caption_status, row.attempts) == (text, status, 3)
    assert reason in (row.status_reason or "")
    assert (row.structured, row.structured_fields) == (None, None)


async def test_a_document_that_repeats_a_subject_is_typed_all_the_same() -> None:
    twice = json.dumps(DOCUMENT | {"subjects": [*DOCUMENT["subjects"], DOCUMENT["subjects"][0]]})
    row = await captioned(ScriptedEngine([twice]), max_attempts=1)
    assert (row.caption_status, row.status_reason) == ("invalid", "lists the subject 'Woman' twice")
    assert row.structured_fields is not None and len(row.structured_fields["subjects"]) == 3


async def test_a_landscape_has_no_subject() -> None:
    """The schema does not make the model invent one."""
    assert "minItems" not in StructuredCaption.model_json_schema()["properties"]["subjects"]
    row = await captioned(ScriptedEngine([json.dumps(DOCUMENT | {"subjects": []})]))
    assert (row.caption_status, row.structured_fields) == ("ok", DOCUMENT | {"subjects": []})


async def test_published_times() -> None:
    """The published engine takes every clip's frames to be half a second apart."""
    for published, seconds in ((False, 15.0), (True, 7.5)):
        asking = recipe("structured", options={"published_times": published})
        engine = ScriptedEngine([TEXT])
        (row,) = await asking.caption(sample_video(asking.plan, seconds=16.0), engine)
        (request,) = engine.requests
        assert request.clip is not None and request.clip.num_frames == 16
        assert request.clip.timestamps[-1] == pytest.approx(seconds, abs=0.1)
        assert request.clip.duration_sec == (8.0 if published else 16.0)
        assert (row.end_sec, row.duration_sec) == (16.0, 16.0)


def test_published_size() -> None:
    plan = recipe("structured").plan
    assert plan is not None and plan.stretch_to is None
    plan = recipe("structured", options={"published_size": True}).plan
    assert plan is not None and plan.stretch_to == (360, 420)


async def test_without_guidance_answers_are_still_checked() -> None:
    engine = ScriptedEngine(["A dog."])
    row = await captioned(engine, options={"guided": False}, max_attempts=1)
    assert engine.requests[0].json_schema is None
    assert row.caption_status == "invalid"


def test_wrong_options() -> None:
    with pytest.raises(ConfigError, match=r"drop_lightning: .* did you mean .*drop_lighting\?"):
        recipe("t2v", options={"drop_lightning": 0.2})
    with pytest.raises(ConfigError, match=r"drop_lighting.*less than or equal to 1"):
        recipe("t2v", options={"drop_lighting": 10})


# ---- fusion


async def test_a_fused_row() -> None:
    engine = ScriptedEngine(["A woman walks."])
    row = await fused(engine, options={"drop_appearance": 1.0})
    assert row.caption == f"A woman walks. {CAMERA}"
    assert (row.video_id, row.level, row.caption_status) == ("a.mp4", "video", "ok")
    assert (row.duration_sec, row.num_frames, row.metadata) == (None, None, '{"k": 1}')
    (request,) = engine.requests
    fields = json.loads(row.details or "")["fields"]
    assert json.dumps(fields, ensure_ascii=False, indent=4) in request.system
    assert (request.clip, request.json_schema) == (None, None)
    # The camera does not pass through the model, nor does what was dropped.
    assert "Hornet" not in request.system
    assert "red coat" not in request.system and "smiling" in request.system


async def test_a_concise_row() -> None:
    engine = ScriptedEngine(["A woman walks."])
    row = await fused(engine, task="i2v")
    assert row.caption == f"A woman walks. {CAMERA}"
    assert json.loads(row.details or "") == {
        "fields": {
            "num_subjects": 2,
            "subjects": [
                {"name": "Woman", "action": "walks along the beach", "expression": "smiling"},
                {"name": "Dog", "action": "runs ahead", "expression": ""},
            ],
        }
    }


async def test_a_repair_is_told() -> None:
    row = await fused(ScriptedEngine(["A woman."]), caption=TEXT[:-1])
    assert json.loads(row.details or "")["repaired"] is True
    row = await fused(ScriptedEngine(["A woman."]))
    assert "repaired" not in json.loads(row.details or "")


@pytest.mark.parametrize("caption", ["", "-", "no JSON", '{"subjects": []}'])
async def test_what_cannot_be_fused_never_reaches_the_model(caption: str) -> None:
    engine = ScriptedEngine(["A woman."])
    with pytest.raises(UnusableMaterialError):
        await fused(engine, caption=caption)
    assert engine.requests == []


async def test_captions_of_clips_are_no_structured_caption() -> None:
    with pytest.raises(UnusableMaterialError, match="no caption of the whole video"):
        await fused(ScriptedEngine([]), level="clip")


async def test_a_text_that_breaks_a_rule() -> None:
    text = "One.\n\nTwo."
    row = await fused(ScriptedEngine([text, text, text]))
    assert (row.caption_status, row.status_reason) == ("invalid", "more than one paragraph")
    with pytest.raises(AbnormalCaptionError, match="more than one paragraph"):
        await fused(ScriptedEngine([text, text, text]), drop_abnormal=True)
