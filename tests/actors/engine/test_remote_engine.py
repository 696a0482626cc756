"""An engine elsewhere, over real HTTP: whatever the endpoint does costs one video at most."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import time
import wave
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from actors.engine.chat import ChatService
from actors.engine.remote_engine import RemoteEngine, RemoteSettings
from schemas.config import GenerationConfig
from schemas.endpoint import EndpointConfig
from schemas.errors import (
    CaptionError,
    Cause,
    EndpointUnavailableError,
    PromptTooLongError,
    RequestRejectedError,
)
from schemas.media import Clip
from schemas.recipe import Answer, Request
from tests.support.judge_server import Behaviour, JudgeServer, Reply, prompt_of

USED = {"prompt_tokens": 7, "completion_tokens": 2}
GOOD = Reply("A dog.", usage=USED)
KEY = "sk-very-secret-0123456789"


def engine_at(url: str, *, retries: int = 3, connections: int = 8, **endpoint: Any) -> RemoteEngine:
    service = ChatService(
        url=url,
        model="m",
        key=KEY,
        retries=retries,
        connections=connections,
        timeout_sec=5,
        naming="engine.endpoint.{}",
    )
    config = EndpointConfig(**endpoint)
    return RemoteSettings(service=service, endpoint=config, max_model_len=4096).start()


async def ask(behaviour: Behaviour, request: Request | None = None, **options: Any) -> Answer:
    with JudgeServer(behaviour) as server:
        return await engine_at(server.url, **options).ask(request or Request(prompt="What?"))


FAULTS = {
    "too many requests": (Reply(status=429, headers={"Retry-After": "0.2"}), "HTTP 429"),
    "an error of the server": (Reply(status=500, body="oh"), "HTTP 500"),
    "a body that is cut": (Reply("A dog that runs.", usage=USED, cut=9), "RemoteProtocolError"),
    "something else": (Reply(body="<html>busy</html>"), "not a chat completion"),
    "an answer without choices": (Reply(body='{"choices": []}'), "not a chat completion"),
    "no tokens": (Reply("", usage=USED | {"completion_tokens": 0}), "the answer has no tokens"),
    "words without tokens": (Reply("A cat.", usage={"completion_tokens": 0}), "no tokens"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_that_passes_is_asked_again(name: str) -> None:
    replies = itertools.chain([FAULTS[name][0]], itertools.repeat(GOOD))
    answer = await ask(lambda asked: next(replies))
    assert answer == Answer(text="A dog.", finish_reason="stop", prompt_tokens=7, output_tokens=2)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_that_stays_is_left_to_a_later_run(name: str) -> None:
    fault, words = FAULTS[name]
    with pytest.raises(EndpointUnavailableError, match=words) as caught:
        await ask(lambda asked: fault, retries=1)
    assert caught.value.cause is Cause.AVAILABILITY and "2 times" in str(caught.value)


REFUSALS: dict[str, tuple[Reply, type[CaptionError], str]] = {
    "a prompt beyond the context": (
        Reply(status=400, body="This model's maximum context length is 64; max_tokens is 9"),
        PromptTooLongError,
        "does not fit",
    ),
    "a filter": (
        Reply("A", finish_reason="content_filter", usage=USED),
        RequestRejectedError,
        "content_filter",
    ),
    "a bad request": (Reply(status=400, body=f"no such thing, {KEY}"), RequestRejectedError, r"\*"),
    "a key that was withdrawn": (
        Reply(status=401, body="expired"),
        EndpointUnavailableError,
        "refuses the key",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_not_asked_again(name: str) -> None:
    reply, kind, words = REFUSALS[name]
    asked = []
    with pytest.raises(CaptionError, match=words) as caught:
        await ask(lambda body: asked.append(body) or reply)
    assert type(caught.value) is kind and len(asked) == 1
    assert KEY not in str(caught.value)


async def test_answers_belong_to_their_requests_in_whatever_order_they_come() -> None:
    started = time.monotonic()

    def slow_first(asked: dict[str, Any]) -> Reply:
        number = int(prompt_of(asked))
        return Reply(f"answer {number}", delay=0.05 * (8 - number % 8), usage=USED)

    with JudgeServer(slow_first) as server:
        engine = engine_at(server.url, connections=8)
        asks = (engine.ask(Request(prompt=str(number))) for number in range(24))
        answers = await asyncio.gather(*asks)
    assert [each.text for each in answers] == [f"answer {number}" for number in range(24)]
    # Eight at once, so three rounds.
    assert time.monotonic() - started < 24 * 0.2
    assert (engine.stats.requests, engine.stats.output_tokens) == (24, 48)
    assert (engine.stats.running, engine.stats.waiting) == (0, 0)


async def test_no_more_requests_are_under_way_than_may_be() -> None:
    running, most = 0, 0

    def counted(asked: dict[str, Any]) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.05)
        running -= 1
        return GOOD

    with JudgeServer(counted) as server:
        engine = engine_at(server.url, connections=3)
        await asyncio.gather(*(engine.ask(Request(prompt="?")) for _ in range(12)))
    assert most == 3


def clip(frames: int, *, sound: bool = False) -> Clip:
    rng = np.random.default_rng(3)
    return Clip(
        duration_sec=4.0,
        frames=rng.integers(0, 256, (frames, 12, 20, 3), dtype=np.uint8),
        timestamps=np.arange(frames) * 0.5,
        audio=np.sin(np.arange(1600, dtype=np.float32)) if sound else None,
        audio_rate=16_000 if sound else 0,
    )


async def sent(shown: Clip, **endpoint: Any) -> dict[str, Any]:
    """The body of the request for a clip."""
    bodies: list[dict[str, Any]] = []
    request = Request(
        prompt="What?", clip=shown, system="Be brief.", generation=GenerationConfig(max_tokens=9)
    )
    await ask(lambda asked: bodies.append(asked) or GOOD, request, **endpoint)
    assert bodies[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert bodies[0]["max_tokens"] == 9
    return bodies[0]


def pixels(encoded: str) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))


async def test_frames_are_pictures_with_their_times() -> None:
    shown = clip(3)
    body = await sent(shown, picture="png")
    *pictures, text = body["messages"][1]["content"]
    assert [part["type"] for part in pictures] == ["image_url"] * 3
    for part, frame in zip(pictures, shown.frames, strict=True):
        start, encoded = part["image_url"]["url"].split(",")
        assert start == "data:image/png;base64"
        assert np.array_equal(pixels(encoded), frame)
    assert text["text"].endswith("at 0.0, 0.5, 1.0 seconds.\n\nWhat?")
    assert "media_io_kwargs" not in body


async def test_a_single_frame_is_a_picture_without_a_word() -> None:
    for frames in ("images", "video"):
        picture, text = (await sent(clip(1), frames=frames))["messages"][1]["content"]
        assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,")
        assert text == {"type": "text", "text": "What?"}


async def test_frames_are_a_video_with_its_rate() -> None:
    shown = clip(4)
    body = await sent(shown, frames="video", picture="png")
    video, text = body["messages"][1]["content"]
    start, *encoded = video["video_url"]["url"].split(",")
    assert start == "data:video/jpeg;base64"
    assert np.array_equal(np.stack([pixels(each) for each in encoded]), shown.frames)
    assert text == {"type": "text", "text": "What?"}
    assert body["media_io_kwargs"]["video"] == {"fps": 2.0, "duration": 4.0, "num_frames": -1}


async def test_sound_beside_a_video_is_exact() -> None:
    shown = clip(4, sound=True)
    body = await sent(shown, frames="video")
    _, sound, _ = body["messages"][1]["content"]
    with av.open(io.BytesIO(base64.b64decode(sound["input_audio"]["data"]))) as file:
        heard = np.concatenate([each.to_ndarray()[0] for each in file.decode(audio=0)])
        assert file.streams.audio[0].rate == 16_000
    assert shown.audio is not None
    assert np.array_equal(heard, shown.audio)


async def test_sound_is_sent_where_it_is_heard() -> None:
    shown = clip(1, sound=True)
    _, sound, _ = (await sent(shown))["messages"][1]["content"]
    assert sound["type"] == "input_audio" and sound["input_audio"]["format"] == "wav"
    with wave.open(io.BytesIO(base64.b64decode(sound["input_audio"]["data"]))) as file:
        assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
        heard = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32767
    assert shown.audio is not None
    assert np.abs(heard - shown.audio).max() < 1e-4
    deaf = (await sent(shown, sound=False))["messages"][1]["content"]
    assert [part["type"] for part in deaf] == ["image_url", "text"]


async def test_what_else_is_to_be_sent_is_sent() -> None:
    assert (await sent(clip(1), body={"reasoning_effort": "low"}))["reasoning_effort"] == "low"


async def test_a_schema_guides() -> None:
    bodies: list[dict[str, Any]] = []
    request = Request(prompt="?", json_schema={"type": "object"})
    await ask(lambda asked: bodies.append(asked) or GOOD, request)
    assert bodies[0]["response_format"]["json_schema"]["schema"] == {"type": "object"}


async def test_texts_have_no_more_tokens_than_are_counted() -> None:
    engine = engine_at("http://127.0.0.1:9/v1")
    assert await engine.count_tokens(["", "a dog runs", "犬が走る"]) == [0, 4, 4]


def test_the_key_does_not_show() -> None:
    service = ChatService(url="http://x/v1", model="m", key=KEY)
    settings = RemoteSettings(service=service, endpoint=EndpointConfig(), max_model_len=9)
    assert KEY not in f"{settings!r} {settings} {service}"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_what_a_model_thought_is_kept_apart(field: str) -> None:
    message = {"content": "A dog.", field: "Let me see.\n"}
    usage = USED | {"completion_tokens_details": {"reasoning_tokens": 5}}
    body = json.dumps({"choices": [{"message": message}], "usage": usage})
    answer = await ask(lambda _: Reply(body=body))
    assert (answer.text, answer.reasoning) == ("A dog.", "Let me see.")
    assert answer.reasoning_tokens == 5


@pytest.mark.parametrize("wrong", [7, {"reasoning_tokens": "many"}, {"reasoning_tokens": -1}])
async def test_a_count_that_is_none_is_zero(wrong: Any) -> None:
    message = {"content": "A dog.", "reasoning": ["?"]}
    usage = USED | {"completion_tokens_details": wrong}
    body = json.dumps({"choices": [{"message": message}], "usage": usage})
    answer = await ask(lambda _: Reply(body=body))
    assert (answer.text, answer.reasoning, answer.reasoning_tokens) == ("A dog.", "", 0)
