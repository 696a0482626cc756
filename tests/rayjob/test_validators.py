import pytest

from rayjob import validators
from schemas.recipe import Answer


def answer(text: str, finish_reason: str = "stop") -> Answer:
    return Answer(text=text, finish_reason=finish_reason, prompt_tokens=1, output_tokens=1)  # type: ignore[arg-type]


PROSE = (
    "A woman in a red coat walks along a windy beach while gulls cry overhead. She laughs, "
    "turns to the camera and says that the sea is cold, and soft piano music plays. "
    "The words HOLIDAY 2024 fade in at the end, which makes it a travel diary."
)


@pytest.mark.parametrize("text", ["", "   ", "...", "\n!\n"])
def test_empty(text: str) -> None:
    assert validators.non_empty(answer(text)) == "empty"


def test_prose_keeps_every_rule() -> None:
    rules = [
        validators.non_empty,
        validators.complete,
        validators.one_paragraph,
        validators.no_endless_repetition,
        validators.min_words(40),
    ]
    assert validators.first_reason(answer(PROSE), rules) is None


def test_cut_off() -> None:
    assert validators.complete(answer(PROSE, "length")) == validators.TRUNCATED


@pytest.mark.parametrize(
    "text", ["One.\n\nTwo.", "One.\n \nTwo.", "- a dog\n- a cat", "1. a dog\n2. a cat"]
)
def test_more_than_one_paragraph(text: str) -> None:
    assert validators.one_paragraph(answer(text)) is not None


@pytest.mark.parametrize(
    "text", ["A dog.\nIt barks.", "Well - a dog - barks.", "5. March is cold."]
)
def test_one_paragraph(text: str) -> None:
    assert validators.one_paragraph(answer(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "the the the the the the the the the",
        "A dog runs. " + "it runs and runs fast, " * 4,
        PROSE + " and then the camera pans across the long and empty beach" * 4,
        "The man nods. She waits for him here. " * 5,
    ],
)
def test_endless_repetition(text: str) -> None:
    assert "repeats" in (validators.no_endless_repetition(answer(text)) or "")


@pytest.mark.parametrize(
    "text",
    [
        "She laughs ha ha ha ha ha and leaves.",
        "He knocks, and knocks, and knocks.",
        "no no no no, she says, it is a very very big dog",
    ],
)
def test_natural_repetition(text: str) -> None:
    assert validators.no_endless_repetition(answer(text)) is None


def test_word_floor() -> None:
    assert validators.min_words(3)(answer("two words")) == "2 words, fewer than 3"
    assert validators.min_words(3)(answer("it's three words")) is None
