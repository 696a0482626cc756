"""The rules between a structured caption and what a fusion model is shown, one by one."""

import dataclasses
import json
import math
from collections import Counter
from functools import cache
from typing import Any

import pytest

from rayjob.recipes import find_recipe
from rayjob.recipes.fusion.structured_text import ReadCaption, ReadSubject, read_structured
from rayjob.recipes.fusion.texts import ImageToVideo, TextToVideo, with_camera
from rayjob.recipes.material import Material, SourceRow
from rayjob.recipes.wording import words
from rayjob.testing import ScriptedEngine
from schemas.config import RecipeConfig
from schemas.errors import UnusableMaterialError
from schemas.recipe import Video

KEEP_ALL = {"appearance": 0.0, "position": 0.0, "lighting": 0.0}
PUBLISHED = dict.fromkeys(KEEP_ALL, 0.1)
IDS = [f"clips/{number:04d}.mp4" for number in range(4000)]

WOMAN = ReadSubject(
    type="Human",
    sub_type="Woman",
    appearance="a red coat",
    action="walks",
    expression="smiling",
    position="centre",
)
CAPTION = ReadCaption(
    subjects=(WOMAN,),
    shot={"shot_type": "long_shot", "shot_angle": "eye_level", "shot_position": "side_view"},
    camera_motion="pans left",
    environment="a beach",
    lighting="dim",
    repaired=False,
)


def subject(**changes: str) -> ReadSubject:
    return dataclasses.replace(WOMAN, **changes)


def showing(*subjects: ReadSubject) -> ReadCaption:
    return dataclasses.replace(CAPTION, subjects=subjects)


@cache
def text_to_video(drop: tuple[tuple[str, float], ...], seed: int) -> TextToVideo:
    options: dict[str, Any] = {f"drop_{name}": rate for name, rate in drop}
    return TextToVideo(RecipeConfig(options=options | {"drop_seed": seed}))


def dense(
    caption: ReadCaption,
    *,
    video_id: str = "a.mp4",
    drop: dict[str, float] = KEEP_ALL,
    seed: int = 42,
) -> dict[str, Any]:
    return text_to_video(tuple(drop.items()), seed).fields(caption, video_id)


def concise(caption: ReadCaption) -> dict[str, Any]:
    return ImageToVideo().fields(caption, "a.mp4")


# ---- cleaning


@pytest.mark.parametrize(
    ("kind", "sub_type", "kept"),
    [
        ("Human", "Woman", True),
        ("human", "Woman", True),
        ("Animal", "Dog", True),
        ("Human", "", True),
        ("Human", "Accessory", False),
        ("Human", "accessory", False),
        ("Object", "Car", False),
        ("Plant", "Tree", False),
        ("Accessory", "Hat", False),
        ("Scenery", "Human", False),
        ("", "", False),
    ],
)
def test_only_humans_and_animals_have_an_expression(kind: str, sub_type: str, kept: bool) -> None:
    caption = showing(subject(type=kind, sub_type=sub_type))
    expected = "smiling" if kept else ""
    assert dense(caption)["subjects"][0]["expression"] == expected
    assert concise(caption)["subjects"][0]["expression"] == expected


@pytest.mark.parametrize(
    ("kind", "sub_type", "name"),
    [("Human", "Woman", ["Woman"]), ("Human", "", []), ("", "Dog", ["Dog"]), ("", "", [])],
)
def test_the_name_is_the_sub_type_and_last(kind: str, sub_type: str, name: list[str]) -> None:
    caption = showing(subject(type=kind, sub_type=sub_type))
    for document in (dense(caption), concise(caption)):
        (told,) = document["subjects"]
        assert [value for key, value in told.items() if key == "name"] == name
        assert not name or list(told)[-1] == "name"


# ---- t2v


def test_dense_fields_are_all_but_the_camera_in_a_fixed_order() -> None:
    document = dense(showing(WOMAN, subject(sub_type="Man")))
    assert list(document.items()) == [
        ("num_subjects", 2),
        ("subjects", document["subjects"]),
        ("shot_type", "long_shot"),
        ("shot_angle", "eye_level"),
        ("shot_position", "side_view"),
        ("environment", "a beach"),
        ("lighting", "dim"),
    ]
    assert list(document["subjects"][0].items()) == [
        ("appearance", "a red coat"),
        ("action", "walks"),
        ("expression", "smiling"),
        ("position", "centre"),
        ("name", "Woman"),
    ]
    assert [each["name"] for each in document["subjects"]] == ["Woman", "Man"]


def test_shot_fields_that_the_caption_lacks_stay_as_empty_ones() -> None:
    document = dense(dataclasses.replace(CAPTION, shot={"shot_type": "", "shot_angle": "other"}))
    assert (document["shot_type"], document["shot_angle"]) == ("", "other")


@pytest.mark.parametrize("name", ["appearance", "position", "lighting"])
def test_a_dropped_field_is_gone_from_everywhere(name: str) -> None:
    document = dense(showing(WOMAN, WOMAN), drop={**KEEP_ALL, name: 1.0})
    assert f'"{name}"' not in json.dumps(document)
    others = KEEP_ALL.keys() - {name}
    assert all(f'"{other}"' in json.dumps(document) for other in others)


def test_probabilities_zero_and_one_are_certain() -> None:
    for video_id in IDS:
        assert not dropped(dense(CAPTION, video_id=video_id))
        thinned = dense(CAPTION, video_id=video_id, drop=dict.fromkeys(KEEP_ALL, 1.0))
        assert dropped(thinned) == {"appearance", "position", "lighting"}


def dropped(document: dict[str, Any]) -> frozenset[str]:
    there = {*document, *document["subjects"][0]}
    return frozenset({"appearance", "position", "lighting"} - there)


def draws(*, seed: int = 42, drop: dict[str, float] = PUBLISHED) -> list[frozenset[str]]:
    return [dropped(dense(CAPTION, video_id=each, drop=drop, seed=seed)) for each in IDS]


def test_appearance_and_position_are_drawn_for_each_subject() -> None:
    """As published: with four subjects 66 % of the videos keep every appearance, and 0.01 % lose
    all; one draw per video would be 90 % and 10 %.
    """
    videos = 20_000
    for name in ("appearance", "position"):
        kept: Counter[int] = Counter()
        for number in range(videos):
            told = dense(showing(*[WOMAN] * 4), video_id=f"v{number}", drop=PUBLISHED)["subjects"]
            kept[sum(name in each for each in told)] += 1
        for count in range(5):
            expected = videos * math.comb(4, count) * 0.9**count * 0.1 ** (4 - count)
            assert abs(kept[count] - expected) < 4 * math.sqrt(expected) + 1, (name, count)
        assert kept[4] / videos == pytest.approx(0.6561, abs=0.014)


def test_a_landscape_is_told_by_shot_place_and_light() -> None:
    document = dense(showing())
    assert list(document.items()) == [
        ("num_subjects", 0),
        ("subjects", []),
        *CAPTION.shot.items(),
        ("environment", "a beach"),
        ("lighting", "dim"),
    ]
    with pytest.raises(UnusableMaterialError, match="no subject has an action"):
        concise(showing())


def test_what_is_all_that_is_known_is_not_thinned_out() -> None:
    nothing = dataclasses.replace(CAPTION, subjects=(), environment="", shot={"shot_type": ""})
    always = dict.fromkeys(KEEP_ALL, 1.0)
    assert dense(nothing, drop=always)["lighting"] == "dim"
    with pytest.raises(UnusableMaterialError, match="no subject, place, light or shot"):
        dense(dataclasses.replace(nothing, lighting=""))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_rates_of_dropout(rate: float) -> None:
    """Within 4 standard deviations; each field for itself, so pairs go with the rate squared."""
    counts: Counter[frozenset[str]] = Counter()
    for each in draws(drop=dict.fromkeys(KEEP_ALL, rate)):
        counts.update(frozenset(pair) for pair in ({a, b} for a in each for b in each))

    def within(names: set[str], probability: float) -> bool:
        expected = len(IDS) * probability
        return abs(counts[frozenset(names)] - expected) < 4 * math.sqrt(
            expected * (1 - probability)
        )

    for name in KEEP_ALL:
        # Each pair is met twice, as (a, b) and as (b, a); a field with itself once.
        assert within({name}, rate)
    for pair in ({"appearance", "position"}, {"appearance", "lighting"}, {"position", "lighting"}):
        counts[frozenset(pair)] //= 2
        assert within(pair, rate**2)


def test_the_draw_is_the_same_in_every_run_and_process() -> None:
    assert draws() == draws()
    # Written down, so that another process, machine or Python that draws otherwise fails here.
    drawn = [index for index, each in enumerate(draws()[:40]) if each]
    assert drawn == [0, 1, 4, 15, 20, 21, 23, 24, 28, 33]


def test_another_seed_draws_differently() -> None:
    first, second = draws(seed=42), draws(seed=43)
    differing = sum(a != b for a, b in zip(first, second, strict=True))
    # Equal by chance with 0.82 (both or neither) to the third power.
    assert differing / len(IDS) == pytest.approx(1 - 0.82**3, abs=0.04)


def test_the_rate_of_one_field_leaves_the_draw_of_the_others() -> None:
    often = draws(drop={**PUBLISHED, "appearance": 0.9})
    assert [each - {"appearance"} for each in often] == [each - {"appearance"} for each in draws()]


# ---- i2v


def test_concise_fields_are_names_actions_and_expressions() -> None:
    assert concise(CAPTION) == {
        "num_subjects": 1,
        "subjects": [{"name": "Woman", "action": "walks", "expression": "smiling"}],
    }


def test_subjects_without_action_and_expression_are_dropped() -> None:
    caption = showing(
        subject(sub_type="acts", expression=""),
        subject(sub_type="shows nothing", action="", expression=""),
        subject(sub_type="smiles", action=""),
        # Its expression is blanked, so that nothing is left of it.
        subject(type="Object", sub_type="blanked", action=""),
    )
    document = concise(caption)
    assert [each["name"] for each in document["subjects"]] == ["acts", "smiles"]
    assert document["num_subjects"] == 2


@pytest.mark.parametrize("nobody", [subject(action="", expression=""), subject(type="", action="")])
def test_a_video_in_which_nobody_acts_is_refused(nobody: ReadSubject) -> None:
    with pytest.raises(UnusableMaterialError, match="no subject has an action or an expression"):
        concise(showing(nobody))


# ---- the camera's sentence


@pytest.mark.parametrize(
    ("text", "motion", "expected"),
    [
        ("A dog runs.", "pans left", "A dog runs. Pans left."),
        ("A dog runs.", "The camera pans left.", "A dog runs. The camera pans left."),
        # Names keep their letters, where str.capitalize() would lower them.
        ("A dog runs.", "follows the USS Hornet", "A dog runs. Follows the USS Hornet."),
        ("A dog runs.", "  zooms in!  ", "A dog runs. Zooms in!"),
        ("A dog runs.", "é", "A dog runs. É."),
        ("犬。", "左へ。", "犬。 左へ。"),
        ("कुत्ता दौड़ता है।", "बाईं ओर।", "कुत्ता दौड़ता है। बाईं ओर।"),
        ("A dog runs.", "", "A dog runs."),
        ("A dog runs.", " \n", "A dog runs."),
        ("A dog runs", "pans left", "A dog runs. Pans left."),
        ("“A dog runs.”", "pans left", "“A dog runs.” Pans left."),
        ("", "pans left", "Pans left."),
        ("", "", ""),
    ],
)  # fmt: skip
def test_the_camera_is_a_sentence_of_its_own(text: str, motion: str, expected: str) -> None:
    assert with_camera(text, motion) == expected


# ---- what is asked


def material(caption: dict[str, Any]) -> Video:
    row = SourceRow(
        level="video",
        index=0,
        start_sec=None,
        end_sec=None,
        caption=json.dumps(caption),
        structured=None,
        caption_status="ok",
    )
    return Video(
        video_id="a.mp4",
        uri="/a.mp4",
        metadata=None,
        material=Material(rows=(row,), info=None).to_json(),
    )


LANDSCAPE = {"subjects": [], "environment": "Dünen", "camera_motion": "pans left"}


async def test_all_is_in_the_system_message_up_to_a_blank_line() -> None:
    engine = ScriptedEngine(["Dunes lie still."])
    (row,) = await TextToVideo().caption(material(LANDSCAPE), engine)
    assert row.caption == "Dunes lie still. Pans left."
    (asked,) = engine.requests
    assert asked.prompt == "" and asked.generation.stop == ("\n\n",)
    _, document = asked.system.split("description:\n")
    assert document == json.dumps(
        json.loads(row.details or "")["fields"], ensure_ascii=False, indent=4
    )
    assert '    "environment": "Dünen"' in document


async def test_what_is_no_caption_is_named_and_asked_for_again() -> None:
    """Also where it is cut off beside: the first reason is what is wrong with it."""
    subjects = [{"action": "walks slowly along the beach", "appearance": "a red coat and a hat"}]
    caption = LANDSCAPE | {"subjects": subjects}
    document = json.dumps(TextToVideo().fields(read_structured(json.dumps(caption)), "a.mp4"))
    bare = " ".join(words(document))
    for bad, reason in (
        (document + "~", "JSON where prose"),
        (bare + "~", "echoes its input: 'num_subjects 1"),
        ("walks " * 60 + "~", "repeats 'walks'"),
        ("<caption>A woman walks.</caption>", "markup where prose"),
    ):
        engine = ScriptedEngine([bad, "A woman walks slowly along the beach."])
        (row,) = await TextToVideo().caption(material(caption), engine)
        assert (row.caption_status, row.attempts) == ("ok", 2), bad
        penalty = engine.requests[1].generation.repetition_penalty
        assert penalty == (1.1 if "repeats" in reason else None)
        (row,) = await TextToVideo(RecipeConfig(max_attempts=1)).caption(
            material(caption), ScriptedEngine([bad])
        )
        assert row.caption_status == "invalid"
        assert (row.status_reason or "").startswith(reason), row.status_reason


# ---- the published settings


@pytest.mark.parametrize("task", ["t2v", "i2v"])
def test_published_settings(task: str) -> None:
    recipe = find_recipe(task)
    assert recipe.model == "Qwen/Qwen2.5-32B-Instruct"
    assert (recipe.generation.temperature, recipe.generation.max_tokens) == (0.1, 512)
    assert recipe.max_model_len == 4096
    assert recipe.source_recipe == "structured"


def test_published_rates() -> None:
    options = TextToVideo().options
    rates = (options.drop_appearance, options.drop_position, options.drop_lighting)
    assert rates == (0.1, 0.1, 0.1)
