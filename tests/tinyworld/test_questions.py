"""Questions about clips of the tiny world are questions as the recipe ask reads them."""

from __future__ import annotations

import random

import pytest

from rayjob.recipes.questions import Thing, chosen, things
from tinyworld import questions, tasks
from tinyworld.world import NO_TEXT, Scene, sample_scenes

SCENE = Scene("red", "circle", "large", "left", "blue", "low tone", "K", "top")
OTHER = Scene("cyan", "star", "small", "up", "red", "noise", "2", "left")
RNG = random.Random(7)


def test_a_choice_has_its_answer_among_three_options() -> None:
    for scene in sample_scenes(100, 3):
        for kind in questions.CHOICES:
            asked = questions.question(kind, [scene], RNG)
            assert asked.form == "choice" and len({*asked.options}) == 3
            assert chosen(asked.answer, asked.options) == getattr(scene, kind)


@pytest.mark.parametrize(
    ("kind", "form", "answer"),
    [
        ("object", "objects", "circle (count: 1, color: red, position: top)"),
        ("ocr", "texts", "K"),
        ("background_change", "words", "The background stays blue."),
    ],
)
def test_answers(kind: str, form: str, answer: str) -> None:
    asked = questions.question(kind, [SCENE], RNG)
    assert (asked.form, asked.answer) == (form, answer)
    pair = questions.ask(asked)
    assert (pair.task, pair.prompt, pair.answer) == (f"ask {kind}", asked.text(), answer)
    if form == "objects":
        assert things(answer) == [Thing("circle", 1)]


def test_two_scenes_are_asked_about_their_background() -> None:
    (pair,) = questions.some([SCENE, OTHER], RNG, mute=False)
    assert pair.answer == "The background is blue, then red."


def test_nothing_is_asked_about_sound_where_there_is_none() -> None:
    asked = [questions.some([SCENE], RNG, mute=True) for _ in range(200)]
    kinds = {pair.task for pairs in asked for pair in pairs}
    assert kinds == {"ask motion", "ask object", "ask ocr", "ask background_change"}


def test_sound_alone_and_picture_alone_make_up_the_whole() -> None:
    for scene in sample_scenes(100, 3):
        seen, heard = tasks.seen(scene).answer, tasks.heard(scene).answer
        assert tasks.omni(scene).answer == f"{seen} {heard}"
        assert scene.text == NO_TEXT or scene.text in seen


def test_what_has_changed() -> None:
    before = "A large red circle on a blue background. The letter K is shown."
    pair = tasks.change(SCENE, SCENE, "left", before)
    assert pair.answer == "The red circle has moved left." and before in pair.prompt
    assert tasks.change(SCENE, SCENE, None, "").answer == "The red circle has not moved."
    told = tasks.change(SCENE, OTHER, None, "").answer
    assert told == "A small cyan star is there now, on a red background."
