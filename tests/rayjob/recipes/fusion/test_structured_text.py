"""Structured captions as scripts and models leave them: read, repaired, or refused."""

import asyncio
import json
import time

import pytest

from rayjob.recipes.fusion.structured_text import (
    LONGEST,
    LONGEST_REPAIRED,
    ReadSubject,
    read_apart,
    read_structured,
)
from schemas.errors import UnusableMaterialError

DOCUMENT = {
    "subjects": [
        {
            "TYPES": {"type": "Human", "sub_type": "Woman"},
            "appearance": "long hair, a red coat",
            "action": "walks along the beach",
            "expression": "smiling",
            "position": "in the centre",
            "is_main_subject": True,
        },
        {
            "TYPES": {"type": "Animal", "sub_type": "Dog"},
            "appearance": "small and brown",
            "action": "runs ahead",
            "expression": "",
            "position": "to the left of the woman",
            "is_main_subject": False,
        },
    ],
    "shot_type": "long_shot",
    "shot_angle": "eye_level",
    "shot_position": "side_view",
    "camera_motion": "The camera follows Anna to the USS Hornet.",
    "environment": "a windy beach",
    "lighting": "soft evening light",
}
TEXT = json.dumps(DOCUMENT)
PYTHON = repr(DOCUMENT)  # single quotes, True and False

WOMAN = ReadSubject(
    type="Human",
    sub_type="Woman",
    appearance="long hair, a red coat",
    action="walks along the beach",
    expression="smiling",
    position="in the centre",
)
DOG = ReadSubject(
    type="Animal",
    sub_type="Dog",
    appearance="small and brown",
    action="runs ahead",
    expression="",
    position="to the left of the woman",
)


def test_a_valid_document_is_read_as_it_is() -> None:
    read = read_structured(TEXT)
    assert read.subjects == (WOMAN, DOG)
    assert read.shot == {
        "shot_type": "long_shot",
        "shot_angle": "eye_level",
        "shot_position": "side_view",
    }
    assert read.camera_motion == "The camera follows Anna to the USS Hornet."
    assert (read.environment, read.lighting) == ("a windy beach", "soft evening light")
    assert not read.repaired


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(PYTHON, id="single quotes"),
        pytest.param(f"{TEXT}\nI hope this helps!", id="trailing text"),
        pytest.param(f"Here is the caption: {TEXT}", id="leading text"),
        pytest.param(f"```json\n{TEXT}\n```", id="code fence"),
        pytest.param(f"```\n{PYTHON}\n```\nDone.", id="code fence, quotes and trailing text"),
        pytest.param(TEXT * 2, id="the document twice"),
        pytest.param(f"{TEXT} and {{'note': 1}}", id="another object behind"),
        pytest.param(f"{{'note': 1}} and then {TEXT}", id="another object before"),
        pytest.param(TEXT[:-1], id="brace missing"),
        pytest.param(TEXT[:-1] + ",}", id="comma too many"),
        pytest.param(TEXT.replace('"Dog"},', '"Dog"}'), id="comma missing"),
        pytest.param(TEXT.replace("red coat", 'red "coat"').replace('"coat"', "coat"), id="quotes"),
    ],
)
def test_a_broken_document_loses_nothing(broken: str) -> None:
    read = read_structured(broken)
    assert read.subjects == (WOMAN, DOG)
    assert read.lighting == "soft evening light"
    assert read.repaired == (broken != TEXT)


@pytest.mark.parametrize("end", ["the left of", "runs ahe", '"action": "runs ahead"', "Animal"])
def test_an_unterminated_string_keeps_what_was_written(end: str) -> None:
    read = read_structured(TEXT[: TEXT.index(end) + len(end)])
    assert read.repaired
    assert read.subjects[0] == WOMAN
    dog = read.subjects[1]
    assert dog.type == "Animal"
    assert DOG.action.startswith(dog.action) and DOG.position.startswith(dog.position)
    # What was not reached is empty, not made up.
    assert not any((*read.shot.values(), read.camera_motion, read.environment, read.lighting))


def test_of_a_repeated_key_the_last_counts() -> None:
    text = (
        '{"subjects": [{"action": "sits", "action": "stands"}], "lighting": "a", "lighting": "b"}'
    )
    read = read_structured(text)
    assert (read.subjects[0].action, read.lighting, read.repaired) == ("stands", "b", False)
    assert read_structured(text[:-1]).subjects[0].action == "stands"


def test_a_landscape_has_no_subject() -> None:
    read = read_structured(json.dumps(DOCUMENT | {"subjects": []}))
    assert (read.subjects, read.environment, read.repaired) == ((), "a windy beach", False)
    for known in ("environment", "lighting", "camera_motion", "shot_type"):
        assert read_structured(json.dumps({known: "dim"})).subjects == ()


def test_an_array_around_the_document() -> None:
    read = read_structured(f"[{TEXT}]")
    assert (read.subjects, read.repaired) == ((WOMAN, DOG), False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("-", "not a JSON object"),
        ("A woman walks along the beach.", "not a JSON object: it begins with 'A woman"),
        ("42", "not a JSON object"),
        ("null", "not a JSON object"),
        ('"subjects"', "not a JSON object"),
        ("[1, 2]", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{}", "tells nothing"),
        ("[{}]", "tells nothing"),
        ('{"subjects": []}', "tells nothing"),
        ('{"subjects": null}', "tells nothing"),
        ('{"subjects": "a woman"}', "tells nothing"),
        ('{"subjects": 7}', "tells nothing"),
        ('{"subjects": true}', "tells nothing"),
        ('{"subjects": ["a woman"]}', "tells nothing"),
        ('{"subjects": [{}, {"is_main_subject": true}]}', "tells nothing"),
        ('{"subjects": [{"appearance": " "}], "lighting": null}', "tells nothing"),
        ('{"subj', "not a JSON object"),
        ('{"subjects": [{"TYPES": {"ty', "tells nothing"),
        ("[" * 100_000, "not JSON"),
        ('{"subjects": ' + '{"a":' * 100_000, "not JSON"),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UnusableMaterialError, match=reason):
        read_structured(text)


def test_fields_of_other_types_become_text() -> None:
    read = read_structured(
        json.dumps(
            {
                "subjects": [
                    {
                        "TYPES": "Human",
                        "appearance": ["tall", " bearded ", None, ""],
                        "action": 3,
                        "expression": {"face": "smiling"},
                        "position": True,
                    }
                ],
                "shot_type": None,
                "shot_angle": ["eye_level"],
                "environment": 1.5,
            }
        )
    )
    (subject,) = read.subjects
    assert (subject.type, subject.sub_type) == ("Human", "")
    assert subject.appearance == "tall, bearded"
    assert (subject.action, subject.expression, subject.position) == ("3", "", "")
    assert read.shot == {"shot_type": "", "shot_angle": "eye_level", "shot_position": ""}
    assert read.environment == "1.5"


def test_a_single_subject_without_its_list() -> None:
    text = json.dumps(DOCUMENT | {"subjects": DOCUMENT["subjects"][0]})
    assert read_structured(text).subjects == (WOMAN,)


def test_half_of_a_surrogate_pair_does_not_reach_the_tables() -> None:
    read = read_structured(r'{"subjects": [{"action": "waves \ud83d"}], "lighting": "\u00e9"}')
    assert (read.subjects[0].action, read.lighting) == ("waves ?", "é")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "null", "1e999", '"nan"'])
@pytest.mark.parametrize("end", ["}", ""], ids=["valid", "repaired"])
def test_a_value_that_is_missing_is_not_a_text(value: str, end: str) -> None:
    subject = f'{{"action": "sits", "expression": {value}, "position": {value}}}'
    read = read_structured(
        f'{{"subjects": [{subject}], "lighting": {value}, "shot_type": {value}{end}'
    )
    assert read.repaired == (not end)
    (subject,) = read.subjects
    assert (subject.action, subject.expression, subject.position) == ("sits", "", "")
    assert (read.lighting, any(read.shot.values())) == ("", False)


BROKEN_QUOTES = "{'subjects':[" + "'a\" " * (8 << 10)
"""32 KB; to repair it took 26 seconds."""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BROKEN_QUOTES, "too broken"),
        ("{'a': " + "x" * LONGEST_REPAIRED, "too long to be repaired"),
        (json.dumps(DOCUMENT | {"environment": "x" * LONGEST}), "characters"),
        # Later Pythons read it, and find no text in it.
        ('{"subjects": [{"action": ' + "[" * 900 + "]" * 900 + "}]}", "nested deeply|nothing"),
    ],
)
def test_reading_has_an_end(text: str, reason: str) -> None:
    began = time.thread_time()
    with pytest.raises(UnusableMaterialError, match=reason):
        read_structured(text)
    assert time.thread_time() - began < 5


def test_long_captions_are_repaired() -> None:
    many = json.dumps(DOCUMENT | {"subjects": DOCUMENT["subjects"] * 100})
    assert len(many) < LONGEST_REPAIRED
    assert read_structured(many[:-1]).subjects == (WOMAN, DOG)
    assert read_structured(repr(json.loads(many))).subjects == (WOMAN, DOG)


def test_the_event_loop_goes_on_meanwhile() -> None:
    """It stands still for a part of what the reading takes, however busy the machine is."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, before = max(longest, now - before), now

    async def read() -> list[object]:
        watcher = asyncio.create_task(watch())
        await asyncio.sleep(0)
        texts = [BROKEN_QUOTES] * 3 + [json.dumps(DOCUMENT)[:-1]]
        results = await asyncio.gather(*map(read_apart, texts), return_exceptions=True)
        await asyncio.sleep(0.01)  # so that it sees a pause that has just ended
        watcher.cancel()
        return list(results)

    began = time.perf_counter()
    *refused, good = asyncio.run(read())
    whole = time.perf_counter() - began
    assert [type(each) for each in refused] == [UnusableMaterialError] * 3
    assert good.subjects == (WOMAN, DOG)  # type: ignore[attr-defined]
    # On the loop each of the three would hold it for a third of the time.
    assert longest < whole / 5
