"""Questions about a clip with their right answers, in the form of the published benchmark."""

from __future__ import annotations

import random
from collections.abc import Sequence

from rayjob.recipes.questions import TEXTS_QUESTION, VideoQuestion
from tinyworld.tasks import Pair, prompt
from tinyworld.world import MOTIONS, NO_TEXT, SOUNDS, Scene

CHOICES = {"sound": SOUNDS, "motion": MOTIONS}
ASKED = {
    "sound": "Which sound plays?",
    "motion": "Which way does the shape move?",
    "object": "List the objects as: object (count: X, color: Y, position: Z); ...",
    "ocr": TEXTS_QUESTION,
    "background_change": "How does the background change?",
}
"""Kind of question -> its words. Of clips with two scenes only the last kind has one answer."""


def question(
    kind: str, scenes: Sequence[Scene], rng: random.Random, *, video_id: str = ""
) -> VideoQuestion:
    """One question about a clip; `rng` draws the options of a choice and their order."""
    options: list[str] = []
    if kind in CHOICES:
        right = getattr(scenes[0], kind)
        wrong = [option for option in CHOICES[kind] if option != right]
        options = [right, *rng.sample(wrong, 2)]
        rng.shuffle(options)
    return VideoQuestion(
        video_id=video_id,
        kind=kind,
        question=ASKED[kind],
        answer=_answer(kind, scenes),
        options=tuple(options),
    )


def _answer(kind: str, scenes: Sequence[Scene]) -> str:
    scene = scenes[0]
    if kind in CHOICES:
        return str(getattr(scene, kind))
    if kind == "object":
        return f"{scene.shape} (count: 1, color: {scene.colour}, position: {scene.position})"
    if kind == "ocr":
        return "No text is shown." if scene.text == NO_TEXT else scene.text
    if scene.background == scenes[-1].background:
        return f"The background stays {scene.background}."
    return f"The background is {scene.background}, then {scenes[-1].background}."


def ask(asked: VideoQuestion) -> Pair:
    """The question as the recipe asks it."""
    told = prompt("ask").replace("{question}", asked.text())
    return Pair(f"ask {asked.kind}", told, asked.answer)


def some(scenes: Sequence[Scene], rng: random.Random, *, mute: bool) -> list[Pair]:
    """All questions that the clip answers: the media, not the words, are what a row costs."""
    kinds = ["background_change"]
    if len(scenes) == 1:
        kinds = [kind for kind in ASKED if not (mute and kind == "sound")]
    return [ask(question(kind, scenes, rng)) for kind in kinds]
