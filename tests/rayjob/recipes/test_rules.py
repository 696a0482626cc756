import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from rayjob.recipes import rules
from rayjob.recipes.wording import words
from schemas.recipe import Answer
from schemas.structured import MAX_SUBJECTS


def answer(text: str, finish_reason: str = "stop") -> Answer:
    return Answer(text=text, finish_reason=finish_reason, prompt_tokens=1, output_tokens=1)  # type: ignore[arg-type]


PROSE = (
    "A woman in a red coat walks along a windy beach while gulls cry overhead. She laughs, "
    "turns to the camera and says that the sea is cold, and soft piano music plays. "
    "The words HOLIDAY 2024 fade in at the end, which makes it a travel diary."
)


@pytest.mark.parametrize("text", ["", "   ", "...", "\n!\n"])
def test_empty(text: str) -> None:
    assert rules.non_empty(answer(text)) == "empty"


def test_prose_keeps_every_rule() -> None:
    kept = [
        rules.non_empty,
        rules.complete,
        rules.one_paragraph,
        rules.no_endless_repetition,
        rules.min_words(40),
    ]
    assert rules.first_reason(answer(PROSE), kept) is None


def test_cut_off() -> None:
    assert rules.complete(answer(PROSE, "length")) == rules.TRUNCATED


@pytest.mark.parametrize(
    "text", ["One.\n\nTwo.", "One.\n \nTwo.", "- a dog\n- a cat", "1. a dog\n2. a cat"]
)
def test_more_than_one_paragraph(text: str) -> None:
    assert rules.one_paragraph(answer(text)) is not None


@pytest.mark.parametrize(
    "text", ["A dog.\nIt barks.", "Well - a dog - barks.", "5. March is cold."]
)
def test_one_paragraph(text: str) -> None:
    assert rules.one_paragraph(answer(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "the the the the the the the the the",
        "A dog runs. " + "it runs and runs fast, " * 4,
        PROSE + " and then the camera pans across the long and empty beach" * 4,
        "The man nods. She waits for him here. " * 5,
        "She sings " + "la " * 24 + "and leaves.",
        "He " + "walks and " * 12 + "sits down.",
        "The singer repeats la la la la la la la la.",
        "好的" * 300,
        "一个男人走进房间。" * 20,
        "一个穿着红色外套的女人沿着刮风的海滩散步，海鸥在她的头顶上不停地鸣叫着。" * 5,
        "आदमी दौड़ता है " * 4,
        "ดี" * 300,
    ],
)
def test_endless_repetition(text: str) -> None:
    assert "repeats" in (rules.no_endless_repetition(answer(text)) or "")


@pytest.mark.parametrize(
    "text",
    [
        "She laughs ha ha ha ha ha and leaves.",
        "He knocks, and knocks, and knocks.",
        "no no no no, she says, it is a very very big dog",
        'The singer repeats "la la la la la la la la" over the beat.',
        '"Row, row your boat, row your boat, row your boat, row your boat", they sing, and row.',
        "她笑着说：“哈哈哈哈哈”，然后离开了房间。",
        "他说好的好的好的好的，然后挂断了电话。",
    ],
)
def test_natural_repetition(text: str) -> None:
    assert rules.no_endless_repetition(answer(text)) is None


def told(dice: random.Random) -> str:
    """Words with a phrase among them that stands several times in a row, mostly."""
    text = [dice.choice("abcdefgh") for _ in range(dice.randrange(100))]
    phrase = [f"{dice.choice('pq')}{number}" for number in range(dice.randint(1, 26))]
    times, left_out = dice.randint(2, 9), dice.randrange(len(phrase))
    at = dice.choice([0, len(text), dice.randint(0, len(text))])
    text[at:at] = (phrase * times)[: len(phrase) * times - left_out]
    return " ".join(text)


def repeated(text: str) -> Iterator[str]:
    """The rule word for word: what ends each phrase that stands too often in a row."""
    said = text.split()
    for length in range(1, min(24, len(said) // 4) + 1):
        run = 0
        for place in range(length, len(said)):
            run = run + 1 if said[place] == said[place - length] else 0
            times_enough = run >= (7 if length == 1 else 3 * length)
            if times_enough and (place == len(said) - 1 or run + length >= 24):
                yield " ".join(said[place - length + 1 : place + 1])


def test_repetition_is_found_where_it_first_counts() -> None:
    dice = random.Random(1)
    reasons = []
    for _ in range(2000):
        text = told(dice)
        phrase = next(repeated(text), None)
        reasons.append(rules.no_endless_repetition(answer(text)))
        assert reasons[-1] == (None if phrase is None else f"{rules.REPEATS}{phrase!r}"), text
    assert 500 < reasons.count(None) < 1500


def test_texts_in_ascii_have_the_words_of_any_other_text() -> None:
    dice = random.Random(1)
    for _ in range(2000):
        text = "".join(chr(dice.choice([dice.randrange(128), *b"ab'_ "])) for _ in range(20))
        assert [*words(text), "狗"] == words(f"{text}狗"), text


def test_word_floor() -> None:
    assert rules.min_words(3)(answer("two words")) == "2 words, fewer than 3"
    assert rules.min_words(3)(answer("it's three words")) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("It's a dog, isn’t it? 2024", ["it's", "a", "dog", "isn’t", "it", "2024"]),
        ("一只狗。跑！", ["一", "只", "狗", "跑"]),
        ("犬がSNSで走る", ["犬", "が", "sns", "で", "走", "る"]),
        ("개가 달린다.", ["개가", "달린다"]),
        ("एक आदमी दौड़ता है।", ["एक", "आदमी", "दौड़ता", "है"]),
        ("هَذَا رَجُلٌ؟", ["هَذَا", "رَجُلٌ"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("--- … !", []),
    ],
)
def test_words_of_any_script(text: str, told: list[str]) -> None:
    assert words(text) == told


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("A dog runs.", True),
        ("Does it bark?", True),
        ("“It barks!”", True),
        ("It barks (loudly.)", True),
        ("It trails off…", True),
        ("犬が走る。", True),
        ("他说：“走吧！”", True),
        ("「犬が走る。」", True),
        ("（犬が走る？）", True),
        ("एक आदमी दौड़ता है।", True),
        ("هل هذا رجل؟", True),
        ("یہ ایک کتا ہے۔", True),
        ("« Il court. »", True),
        ("**It barks.**", True),
        ("สุนัขวิ่ง", True),
        ("犬が走る", False),
        ("एक आदमी दौड़ता", False),
        ("他说：“走吧”", False),
        ("", True),
        ("A dog runs", False),
        ("A dog runs. It", False),
        ("A dog runs,", False),
    ],
)
def test_end_of_a_sentence(text: str, ends: bool) -> None:
    assert rules.ends_with_a_sentence(answer(text)) == (None if ends else "ends abruptly")


def test_sensitive_words() -> None:
    rule = rules.without_words(["gun", "dead body"])
    for text in ("A gun.", "a GUN lies there", "A Dead Body is found."):
        reason = rule(answer(text))
        assert reason == "holds a word of the sensitive list"
    for text in ("A gunner's mate.", "The body of a dead man.", ""):
        assert rule(answer(text)) is None
    assert rules.without_words(["c++ (x)"])(answer("A c++ programmer.")) is None
    assert rules.without_words(["c++"])(answer("A C++ programmer.")) is not None
    assert rules.without_words(["枪"])(answer("桌上有一把枪在发光。")) is not None
    assert rules.without_words(["आदम"])(answer("एक आदमी")) is None
    assert rules.without_words([])(answer("A gun.")) is None


# ---- what is not prose, and what is not an answer


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"caption": "A dog runs."}', "JSON"),
        ('{"subjects": [{"action": "walks", "appe', "JSON"),
        ('[{"action": "walks"}]', "JSON"),
        ("Here it is: {'name': 'Woman', 'action': 'walks along the beach'}", "JSON"),
        ('```json\n{"action": "walks"}\n```', "JSON"),
        ("```\nA dog runs.\n```", "markup"),
        ("<caption>A dog runs.</caption>", "markup"),
        ("# A dog\nIt runs.", "markup"),
        ("A table:\n| who | does |\n|---|---|\n| dog | runs |", "markup"),
        ("It says <b>run</b> and <i>stop</i>.", "markup"),
    ],
)
def test_what_is_not_prose(text: str, reason: str) -> None:
    assert rules.prose(answer(text)) == f"{reason} where prose was asked for"


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        'A screen shows the line {"a": 1} of a program, and a man types below it.',
        "A page with an <h1> is shown while a man explains it.",
        "**A dog** runs, and the sign says #7 | open.",
        "{smiling} A woman waves.",
        "",
    ],
)
def test_what_is_prose(text: str) -> None:
    assert rules.prose(answer(text)) is None


def test_an_answer_that_echoes_its_input() -> None:
    text = "a woman in a red coat who walks along the beach and looks at the sea in the evening"
    asked = f'Tell of it briefly: {{"appearance": "{text}", "action": "laughs"}} and no more.'
    echo = f"Briefly: appearance {text} action laughs and no more."
    rule = rules.no_echo(asked, quotable=[text])
    assert rule(answer(f"Here is {text}, and she laughs.")) is None, "a field word for word"
    # The name of a field may stand before what it says.
    assert rule(answer(f"Her appearance: {text}, and she laughs.")) is None
    assert (rule(answer(echo)) or "").startswith("echoes its input: 'briefly appearance a")
    assert rules.no_echo(asked)(answer(f"Here is {text}.")) is not None
    instruction = "Describe in detail what can be seen in it: the place, people and objects."
    assert rules.no_echo(instruction)(answer(f"Sure. {instruction} A dog runs.")) is not None
    assert rules.no_echo(instruction)(answer("It shows the place, people and objects.")) is None
    assert rules.no_echo("请详细描述这段视频里的人物和地点以及光线")(answer("一只狗。")) is None


# ---- structured captions


def subject(**changes: Any) -> dict[str, Any]:
    return {
        "TYPES": {"type": "Human", "sub_type": "Woman"},
        "appearance": "a red coat",
        "action": "walks",
        "expression": "smiling",
        "position": "centre",
        "is_main_subject": True,
        **changes,
    }


def document(*subjects: dict[str, Any], **changes: Any) -> str:
    return json.dumps(
        {
            "subjects": list(subjects) or [subject()],
            "shot_type": "long_shot",
            "shot_angle": "eye_level",
            "shot_position": "side_view",
            "camera_motion": "static",
            "environment": "a beach",
            "lighting": "dim",
            **changes,
        }
    )


def test_a_document_of_the_schema_keeps_the_rules() -> None:
    for text in (document(), document(*(subject(action=f"does {n}") for n in range(MAX_SUBJECTS)))):
        assert rules.structured(answer(text)) is None
        assert rules.no_repeated_subjects(answer(text)) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Invalid JSON"),
        ("A woman walks.", "Invalid JSON"),
        (document()[:-1], "Invalid JSON"),
        (document() + " Done.", "Invalid JSON"),
        ("[]", "not as the schema says"),
        (document(shot_type="wide_shot"), "shot_type: "),
        (document(shot_type="Long_Shot"), "shot_type: "),
        (document(lighting=None), "lighting: "),
        (document(extra="field"), "extra: "),
        (document(subject(is_main_subject="perhaps")), "subjects.0.is_main_subject: "),
        (document(subject(TYPES="Human")), "subjects.0.TYPES: "),
        (document(subject(), {"TYPES": {}}), "subjects.1.TYPES.type: "),
        (document(*[subject()] * (MAX_SUBJECTS + 1)), "subjects: "),
        (r'{"subjects": "\ud83d"}', "not as the schema says"),
    ],
)
def test_not_as_the_schema_says(text: str, reason: str) -> None:
    assert reason in (rules.structured(answer(text)) or "")


@pytest.mark.parametrize("field", ["appearance", "action", "position"])
def test_subjects_that_differ(field: str) -> None:
    text = document(subject(), subject(**{field: "another"}))
    assert rules.no_repeated_subjects(answer(text)) is None


def test_a_subject_listed_twice() -> None:
    twin = subject(expression="another", is_main_subject=False)
    text = document(subject(), subject(action="sits"), twin)
    reason = rules.no_repeated_subjects(answer(text))
    assert reason == "lists the subject 'Woman' twice"


def test_many_subjects_alike_are_no_endless_repetition() -> None:
    trees = [
        subject(TYPES={"type": "Plant", "sub_type": "Tree"}, action="", position=f"number {at}")
        for at in range(8)
    ]
    rule = rules.no_endless_repetition_in_fields
    assert rule(answer(document(*trees))) is None
    for times in (4, 40):
        stuck = document(subject(), subject(action="walks and " * times))
        assert "repeats" in (rule(answer(stuck)) or "")
    assert rule(answer("no document")) is None
