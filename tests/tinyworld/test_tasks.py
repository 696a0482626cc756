"""Prompts and answers of the tiny world."""

from __future__ import annotations

import json
import random

from tinyworld import tasks
from tinyworld.measure import STRUCTURED, mark_events, mark_structured
from tinyworld.world import FRAME_ATTRIBUTES, Scene, grade, sample_scenes

SCENE = Scene("red", "circle", "large", "left", "blue", "low tone", "K", "top")


def test_answers_are_graded_as_right() -> None:
    for scene in sample_scenes(200, 3):
        assert all(grade(tasks.omni(scene).answer, scene).values())
        assert all(grade(tasks.frame(scene).answer, scene, FRAME_ATTRIBUTES).values())
        assert all(mark_structured(tasks.structured(scene).answer, scene).values())
        context = tasks.random_context(random.Random(scene.seed))
        assert all(mark_events(tasks.clip([scene], context).answer, [scene]).values())


def test_wrong_structured_answers_are_marked_as_wrong() -> None:
    assert mark_structured("{", SCENE) == dict.fromkeys(STRUCTURED, False)
    told = tasks.structured(SCENE).answer.replace('"top"', '"bottom"')
    assert [key for key, right in mark_structured(told, SCENE).items() if not right] == ["position"]


def test_structured_answer_keeps_the_published_order() -> None:
    found = json.loads(tasks.structured(SCENE).answer)
    assert list(found) == [
        "subjects", "shot_type", "shot_angle", "shot_position", "camera_motion", "environment",
        "lighting",
    ]  # fmt: skip
    assert list(found["subjects"][0]) == [
        "TYPES", "appearance", "action", "expression", "position", "is_main_subject",
    ]  # fmt: skip


def test_prompts_have_their_slots_filled() -> None:
    for text in tasks.corpus(400, 2):
        assert "{context}" not in text and "{input}" not in text


def test_long_text_tells_every_window_once() -> None:
    windows = [
        ("[00:00-00:05]", "A large red circle moves left on a blue background."),
        ("[00:05-00:10]", "After the red circle, a small blue star moves up on a red background."),
    ]
    assert tasks.long(windows).answer == (
        "First a large red circle moves left on a blue background. "
        "Then a small blue star moves up on a red background."
    )


def test_fusion_leaves_out_what_the_fields_lack() -> None:
    fields = {
        "num_subjects": 1,
        "subjects": [{"name": "circle", "action": "moves left"}],
        "environment": "a blue background",
    }
    assert tasks.t2v(fields).answer == "A circle moves left on a blue background."
    assert tasks.i2v(fields).answer == "The circle moves left."
