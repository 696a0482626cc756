"""How the demo of a real language model judges its texts."""

from __future__ import annotations

import json

import pytest

from schemas.structured import StructuredCaption
from tinyworld.demo_text import SUBJECTS, VIDEOS, problem

PROMPT = "What happens in this video?\n\n{input}\n"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("A baker kneads dough on a table in the warm light of a small bakery.", None),
        ("", "hardly a word"),
        ("baker dough table light bakery shelves loaves beard", "not English"),
        (json.dumps(VIDEOS["baker.mp4"]), "JSON"),
        ('The {"name": "Baker"} kneads the dough on a table in the light.', "JSON"),
        ("There is a dog on the beach, and it runs to the sea.", "not about baker, man, dough"),
        ("What happens in this video? The man is in the bakery.", "an echo of the prompt"),
    ],
)
def test_a_text(text: str, wrong: str | None) -> None:
    assert problem(text, SUBJECTS["baker.mp4"], PROMPT) == wrong


def test_the_videos_are_structured_captions() -> None:
    assert VIDEOS.keys() == SUBJECTS.keys()
    for fields in VIDEOS.values():
        StructuredCaption.model_validate(fields)
