"""Recipe ``long`` against a scripted engine: what is shown to the model, and how it is reduced.

The model's part is scripted, so that coverage is a fact about the plan: the script repeats the
first words of each note, and what reaches the last request has passed every round of the reduce.
"""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rayjob.recipes.longform.long import Long
from rayjob.recipes.material import Material, SourceRow
from rayjob.testing import CUT_OFF, ScriptedEngine, tokens
from schemas.config import GenerationConfig, RecipeConfig
from schemas.errors import (
    AbnormalCaptionError,
    Cause,
    ConfigError,
    MissingMaterialError,
    UnusableMaterialError,
)
from schemas.media import VideoInfo
from schemas.recipe import Request, Video

EVENT = re.compile(r"event\d+")
TEXT = "It all went well."


def row(level: str, start: float, end: float, caption: str, *, status: str = "ok") -> SourceRow:
    return SourceRow(
        level=level,
        index=round(start),
        start_sec=start,
        end_sec=end,
        caption=caption,
        structured=None,
        caption_status=status,
    )


def video(rows: list[SourceRow], *, seconds: float) -> Video:
    rows.sort(key=lambda each: (each.start_sec or 0.0, each.level))
    info = VideoInfo(
        duration_sec=seconds, fps=25.0, width=16, height=16, has_video=True, has_audio=False
    )
    material = Material(rows=tuple(rows), info=info).to_json()
    return Video(video_id="a.mp4", uri="/v/a.mp4", metadata=None, material=material)


def windows(count: int, *, words: int = 3) -> list[SourceRow]:
    """Windows of 10 s every 5 s, each with an event of its own."""
    filler = " so" * (words - 1)
    return [row("clip", 5 * n, 5 * n + 10, f"event{n}{filler}.") for n in range(count)]


def recipe(
    *, max_tokens: int = 200, drop_abnormal: bool = False, max_attempts: int = 3, **options: Any
) -> Long:
    config = RecipeConfig(
        generation=GenerationConfig(max_tokens=max_tokens),
        drop_abnormal=drop_abnormal,
        max_attempts=max_attempts,
        options={"target_words": 15, **options},
    )
    return Long(config)


def material_of(request: Request) -> list[str]:
    """The lines below the prompt."""
    return request.prompt[request.prompt.index("\n[") + 1 :].splitlines()


async def test_notes() -> None:
    rows = windows(3)
    rows += [row("frame", second, second + 1, f"Frame {second}.") for second in (0, 4, 5, 19)]
    engine = ScriptedEngine(lambda _: TEXT)
    once = recipe(target_words=100, frame_sets="once")
    (told,) = await once.caption(video(rows, seconds=20), engine)
    (request,) = engine.requests
    # A frame stands below the latest window that holds it.
    assert material_of(request) == [
        "[00:00-00:10] event0 so so.",
        "[00:00] Frame 0.",
        "[00:04] Frame 4.",
        "[00:05-00:15] event1 so so.",
        "[00:05] Frame 5.",
        "[00:10-00:20] event2 so so.",
        "[00:19] Frame 19.",
    ]
    assert "about 100 words" in request.prompt
    assert (told.caption, told.level, told.start_sec, told.end_sec) == (TEXT, "video", 0, 20)
    details = json.loads(told.details or "")
    assert details["reduce_depth"] == 0
    assert details["levels"] == [{"requests": 1, "tokens": [details["material_tokens"]]}]
    assert details["windows_left_out"] == 0


async def test_a_window_s_set_holds_every_frame_in_its_time() -> None:
    """As published: what two windows share stands below both."""
    rows = windows(3)
    rows += [row("frame", second, second + 1, f"Frame {second}.") for second in (0, 4, 5, 19)]
    engine = ScriptedEngine(lambda _: TEXT)
    await recipe().caption(video(rows, seconds=20), engine)
    assert material_of(engine.requests[0]) == [
        "[00:00-00:10] event0 so so.",
        "[00:00] Frame 0.",
        "[00:04] Frame 4.",
        "[00:05] Frame 5.",
        "[00:05-00:15] event1 so so.",
        "[00:05] Frame 5.",
        "[00:10-00:20] event2 so so.",
        "[00:19] Frame 19.",
    ]
    # Where the window's own caption is left out, its frames are not.
    rows[0] = row("clip", 0, 10, "la la", status="invalid")
    await recipe().caption(video(rows, seconds=20), engine)
    assert {"[00:00] Frame 0.", "[00:04] Frame 4."} <= {*material_of(engine.requests[1])}


async def test_frames_alone() -> None:
    rows = [row("frame", second, second + 1, f"Frame {second}.") for second in range(4)]
    engine = ScriptedEngine(lambda _: TEXT)
    await recipe().caption(video(rows, seconds=4), engine)
    assert material_of(engine.requests[0])[:2] == [
        "[00:00-00:01] Frame 0.",
        "[00:01-00:02] Frame 1.",
    ]
    with pytest.raises(MissingMaterialError, match=r"end at 4\.0 s of 60\.0 s"):
        await recipe().caption(video(rows, seconds=60), engine)
    rows = [row("frame", 0, 1, "la la", status="invalid")]
    with pytest.raises(UnusableMaterialError, match="of any window or frame"):
        await recipe().caption(video(rows, seconds=1), engine)


@pytest.mark.parametrize(
    ("seconds", "rate", "least", "target"),
    [
        (93, 12.9, 300, 1200),  # LongCaption-10K: 1,198 words over 92.8 s on average
        (1060, 1.1, 300, 1166),  # LongCaption-Bench: 1,161 words over 1,060 s
        (1800, 1.7, 300, 3060),  # its longest captions
        (30, 1.1, 300, 300),
    ],
)
async def test_the_length_follows_the_material(
    seconds: int, rate: float, least: int, target: int
) -> None:
    """Reached in as many answers as it takes, each of which holds about 1,228 words."""

    def writes(request: Request) -> str:
        wanted = int(re.search(r"about ([\d,]+) words", request.prompt)[1].replace(",", ""))  # type: ignore[index]
        number = len(EVENT.findall(request.prompt))
        return " ".join(f"w{number}x{n}" for n in range(wanted)) + "."

    engine = ScriptedEngine(writes)
    asked = recipe(max_tokens=2048, words_per_sec=rate, target_words=least)
    given = video(windows(max(1, -(-(seconds - 10) // 5) + 1), words=12), seconds=seconds)
    (told,) = await asked.caption(given, engine)
    assert json.loads(told.details or "")["target_words"] == target
    assert len(engine.requests) == -(-target // 1228)
    assert target <= len(told.caption.split()) <= 1.01 * target
    assert told.caption_status == "ok"


async def test_a_text_in_several_answers() -> None:
    """Each goes on from the end of the one before; all of the material is told once."""
    engine = ScriptedEngine(repeats_events, max_model_len=1000)
    asked = recipe(max_tokens=50, target_words=90)
    (told,) = await asked.caption(video(windows(12, words=30), seconds=65), engine)
    assert len(engine.requests) == 3
    seen = [material_of(request) for request in engine.requests]
    assert [line for lines in seen for line in lines] == [
        f"[{5 * n // 60:02d}:{5 * n % 60:02d}-{(5 * n + 10) // 60:02d}:{(5 * n + 10) % 60:02d}] "
        f"event{n}{' so' * 29}."
        for n in range(12)
    ]
    parts = told.caption.split("\n\n")
    assert len(parts) == 3
    for request, before in zip(engine.requests[1:], parts, strict=False):
        assert f"so far:\n\n{before}\n" in request.prompt
    assert json.loads(told.details or "")["levels"] == [{"requests": 3, "tokens": [160, 160, 160]}]
    # One part that stays abnormal makes the text so.
    engine = ScriptedEngine(lambda request: "la " * 40 if "event11 " in request.prompt else TEXT)
    (told,) = await asked.caption(video(windows(12, words=30), seconds=65), engine)
    assert (told.caption_status, told.status_reason, told.attempts) == (
        "invalid", "repeats 'la'", 3
    )  # fmt: skip
    dropping = recipe(max_tokens=50, target_words=90, drop_abnormal=True)
    with pytest.raises(AbnormalCaptionError, match="repeats"):
        await dropping.caption(video(windows(12, words=30), seconds=65), engine)


def repeats_events(request: Request) -> str:
    """Tell the events of the notes, as many as the answer may hold, evenly over the time."""
    events = list(dict.fromkeys(EVENT.findall(request.prompt)))
    room = (request.generation.max_tokens or 0) - 1
    if len(events) > room:
        events = [events[round(n * (len(events) - 1) / (room - 1))] for n in range(room)]
    return " ".join(events) + "."


@pytest.mark.parametrize("times", [3, 10, 40])
async def test_material_larger_than_the_context(times: int) -> None:
    context = 1000
    given = windows(times * context // 100, words=90)
    engine = ScriptedEngine(repeats_events, max_model_len=context)  # which checks every request
    (told,) = await recipe().caption(video(given, seconds=5 * len(given) + 5), engine)
    details = json.loads(told.details or "")
    assert details["material_tokens"] > 0.9 * times * context
    assert details["reduce_depth"] == len(details["levels"]) - 1 >= 1
    assert sum(level["requests"] for level in details["levels"]) == len(engine.requests)
    assert details["levels"][-1]["requests"] == 1
    for level in details["levels"]:
        assert len(level["tokens"]) == level["requests"]
        assert max(level["tokens"]) <= details["budget_tokens"]
    # The first round sees everything there is, in the order of time.
    first = engine.requests[: details["levels"][0]["requests"]]
    assert [event for request in first for event in EVENT.findall(request.prompt)] == [
        f"event{n}" for n in range(len(given))
    ]
    assert sum(details["levels"][0]["tokens"]) == details["material_tokens"]
    # Each round makes far less of it.
    sizes = [sum(level["tokens"]) for level in details["levels"]]
    assert all(after < 0.7 * before for before, after in itertools.pairwise(sizes))
    # First, middle and last events reach the text, in their order and without a hole.
    numbers = [int(event.removeprefix("event")) for event in EVENT.findall(told.caption)]
    assert (numbers[0], numbers[-1]) == (0, len(given) - 1)
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    assert min(steps) > 0 and max(steps) <= max(1, 3 * len(given) // 200)
    assert told.prompt_tokens == sum(tokens(request.prompt) + 40 for request in engine.requests), (
        "the row holds the tokens of all requests"
    )
    # Parts carry the time they are about.
    last = material_of(engine.requests[-1])
    assert last[0].startswith("[00:00-")
    minutes, seconds = divmod(5 * len(given) + 5, 60)
    assert f"{minutes % 60:02d}:{seconds:02d}]" in last[-1]


async def test_parts_fit_the_context_where_the_text_is_short() -> None:
    engine = ScriptedEngine(repeats_events, max_model_len=1000)  # which checks every request
    given = video(windows(60, words=76), seconds=305)
    (told,) = await recipe(max_tokens=30).caption(given, engine)
    assert json.loads(told.details or "")["reduce_depth"] >= 1


async def test_one_caption_larger_than_a_request() -> None:
    engine = ScriptedEngine(repeats_events, max_model_len=1000)
    words = " ".join(f"event{n} of some kind," for n in range(500))
    (told,) = await recipe().caption(video([row("clip", 0, 10, words)], seconds=10), engine)
    first = [request for request in engine.requests if "Condense" in request.prompt]
    seen = [event for request in first for event in EVENT.findall(request.prompt)]
    assert list(dict.fromkeys(seen)) == [f"event{n}" for n in range(500)], "a piece was lost"
    assert json.loads(told.details or "")["reduce_depth"] >= 1


async def test_max_input_tokens() -> None:
    engine = ScriptedEngine(repeats_events)
    (told,) = await recipe(max_input_tokens=100).caption(video(windows(20), seconds=105), engine)
    assert max(tokens("\n".join(material_of(request))) for request in engine.requests) <= 100
    assert json.loads(told.details or "")["budget_tokens"] == 100


async def test_material_that_does_not_become_smaller() -> None:
    # With their time stamps, two texts are more than a request may hold.
    late = [row("clip", 3600, 3610, "so " * 40), row("clip", 3605, 3615, "so " * 40)]
    engine = ScriptedEngine(lambda request: "so " * (request.generation.max_tokens or 0))
    with pytest.raises(UnusableMaterialError, match=r"raise engine\.max_model_len"):
        await recipe(max_input_tokens=64, max_attempts=1).caption(video(late, seconds=3615), engine)
    assert len(engine.requests) < 10


async def test_parts_that_were_cut_off_are_counted() -> None:
    def script(request: Request) -> str:
        cut = "Condense" in request.prompt and "event0 " in request.prompt
        return "event0 and" + CUT_OFF if cut else repeats_events(request)

    engine = ScriptedEngine(script, max_model_len=1000)
    (told,) = await recipe().caption(video(windows(60, words=76), seconds=305), engine)
    levels = json.loads(told.details or "")["levels"]
    assert levels[0]["abnormal"] == 1
    assert all(level.get("abnormal", 0) == 0 for level in levels[1:])


async def test_a_context_too_small_for_any_material() -> None:
    engine = ScriptedEngine(lambda _: TEXT, max_model_len=400)
    with pytest.raises(UnusableMaterialError, match=r"400 tokens leaves -?\d+ for the material"):
        await recipe(max_tokens=250).caption(video(windows(2), seconds=15), engine)


async def test_captions_that_end_before_the_video() -> None:
    for rows in (windows(5), [row("frame", 0, 1, "A frame.")]):
        with pytest.raises(MissingMaterialError, match="--retry-failed") as failure:
            await recipe().caption(video(rows, seconds=60), ScriptedEngine(lambda _: TEXT))
        assert failure.value.cause is Cause.MATERIAL, "the next run takes it again by itself"


async def test_one_missing_window_of_an_hour_is_missed() -> None:
    engine = ScriptedEngine(lambda _: TEXT)
    with pytest.raises(MissingMaterialError, match=r"end at 3595.0 s of 3600.0 s"):
        await recipe().caption(video(windows(718), seconds=3600), engine)
    await recipe().caption(video(windows(719), seconds=3600), engine)


async def test_invalid_captions_are_left_out_and_counted() -> None:
    rows = windows(4)
    rows[1] = row("clip", 5, 15, "la la la", status="invalid")
    rows[3] = row("clip", 15, 25, "and then", status="truncated")
    engine = ScriptedEngine(lambda _: TEXT)
    (told,) = await recipe().caption(video(rows, seconds=25), engine)
    assert [line.split()[1] for line in material_of(engine.requests[0])] == ["event0", "event2"]
    assert json.loads(told.details or "")["windows_left_out"] == 2


async def test_nothing_but_invalid_captions() -> None:
    rows = [row("clip", 0, 10, "la la la", status="invalid")]
    with pytest.raises(UnusableMaterialError, match="no valid caption"):
        await recipe().caption(video(rows, seconds=10), ScriptedEngine(lambda _: TEXT))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A dog runs. " * 6, "repeats"),
        ("A dog runs and then it", "ends abruptly"),
        ("A dog runs and" + CUT_OFF, "cut off"),
        ("A dog runs past the Darn cat.", "sensitive"),
    ],
)
async def test_abnormal_captions(tmp_path: Path, text: str, reason: str) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# not to be published\ndarn\n")
    given = video(windows(2), seconds=15)
    engine = ScriptedEngine(lambda _: text)
    (told,) = await recipe(sensitive_words_file=str(words)).caption(given, engine)
    assert told.caption_status in ("invalid", "truncated")
    assert reason in (told.status_reason or "")
    assert (told.attempts, len(engine.requests)) == (3, 3)
    dropping = recipe(sensitive_words_file=str(words), drop_abnormal=True)
    with pytest.raises(AbnormalCaptionError, match=reason):
        await dropping.caption(given, ScriptedEngine(lambda _: text))


def test_a_word_list_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"sensitive_words_file: .*nowhere.txt"):
        recipe(sensitive_words_file="nowhere.txt")
