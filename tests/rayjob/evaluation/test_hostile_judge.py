"""Whatever an endpoint sends costs one answer at most, with a reason, and never the evaluation."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.engine.chat import MOST_BYTES
from rayjob.evaluation.engine_judge import EngineJudge
from schemas.recipe import Answer, Request
from tests.support.evaluations import Done, evaluate, jsonl, scores
from tests.support.judge_server import Behaviour, JudgeServer, Reply, part

GOOD = Reply('{"visual": 5, "audio": 5, "details": 5}')
MALFORMED = "the body is not a chat completion"
TOO_LONG = f"the body is longer than {MOST_BYTES:,} bytes"


def completion(**changes: Any) -> str:
    choice = {"message": {"content": GOOD.text}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], **changes})


def said(content: Any) -> str:
    return completion(choices=[{"message": {"content": content}}])


def encoded(name: str, body: str) -> Reply:
    return Reply(body=body, headers={"Content-Encoding": name})


HOSTILE: dict[str, tuple[Reply, str | None]] = {
    # Bodies: (the reply, the reason why its video has no score; None if it has).
    "too long": (Reply(body=b" " * (MOST_BYTES + 1)), TOO_LONG),
    "compressed": (encoded("gzip", completion()), "the body is encoded as 'gzip'"),
    "another encoding": (encoded("br", completion()), "the body is encoded as 'br'"),
    "empty": (Reply(body=""), MALFORMED),
    "not UTF-8": (Reply(body=b"\xff\xfe{"), MALFORMED),
    "no such charset": (
        Reply(status=400, body="no", headers={"Content-Type": "text/html; charset=bogus"}),
        "HTTP 400: no"),
    "elsewhere": (Reply(status=302, headers={"Location": "http://127.0.0.1:9/"}), "HTTP 302"),
    # JSON.
    "nested": (Reply(body="[" * 200_000), MALFORMED),
    "nested in the answer": (Reply("{\"visual\":" * 20_000), "the answer is not JSON"),
    "choices that are empty": (Reply(body=completion(choices=[])), MALFORMED),
    "choices that are not a list": (Reply(body=completion(choices={"0": 1})), MALFORMED),
    "no message": (Reply(body=completion(choices=[{"message": None}])), MALFORMED),
    "a number for a text": (Reply(body=said(7)), MALFORMED),
    "nothing said": (Reply(body=said(None)), "the answer is not JSON"),
    "half a surrogate": (Reply(body=said("\ud800")), MALFORMED),
    "usage of words": (Reply(body=completion(usage={"prompt_tokens": "many"})), None),
    "usage of lists": (Reply(body=completion(usage=[[]])), None),
    "usage without end": (
        Reply(body=completion(usage={"completion_tokens": 1}).replace(": 1}", ": 1e999}")), None),
    # Values.
    "a long number": (Reply('{"visual": "%s"}' % ("9" * 5000)), "visual: \"99"),
    "a longer number": (Reply('{"visual": %s}' % ("9" * 5000)), "the answer is not JSON"),
    "no number": (Reply('{"visual": NaN, "audio": Infinity}'), "visual: NaN is not one of"),
    "a terminal's commands": (
        Reply(status=400, body="\x1b]0;mine\x07 \x9b31m"), "HTTP 400:  ]0;mine"),
}  # fmt: skip


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Done]:
    """Evaluates three captions, of which the first meets a behaviour; the others get GOOD."""
    rows = [{"video_id": f"v{at}", "caption": f"Caption {at}."} for at in range(3)]
    inputs = jsonl(tmp_path / "c.jsonl", rows)

    def run(behaviour: Behaviour, *extra: object) -> Done:
        def first(asked: dict[str, Any]) -> Reply:
            return behaviour(asked) if part(asked, "caption") == "Caption 0." else GOOD

        with JudgeServer(first) as server:
            return evaluate(
                "--suite", "ugc", "--input", inputs, "--labels", inputs,
                "--scores", tmp_path / "out", "--judge-url", server.url, "--judge-model", "j",
                "--judge-timeout", 5, "--max-unscored-rate", 0.5, *extra,
            )  # fmt: skip

    return run


@pytest.mark.parametrize("name", HOSTILE)
def test_an_answer(ask: Callable[..., Done], tmp_path: Path, name: str) -> None:
    reply, reason = HOSTILE[name]
    tracemalloc.start()
    done = ask(lambda asked: reply, "--judge-retries", 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done.code == 0, done.stderr
    assert peak < 64 << 20
    assert "\x1b" not in done.stderr and "\x9b" not in done.stderr
    found = {(row["video_id"], row["dimension"]): row for row in scores(tmp_path / "out")}
    assert len(found) == 9
    assert all(found[video, "audio"]["score"] == 5 for video in ("v1", "v2"))
    if reason is None:
        assert found["v0", "visual"]["score"] == 5
    else:
        assert found["v0", "visual"]["score"] is None
        assert reason in found["v0", "visual"]["reason"]


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("nan", None), ("soon", None), ("", None), ("1, 2", None), ("0x1p3", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("-5", 0), ("-inf", 0), ("1e-400", 0), ("2", 2), ("61", 60), ("inf", 60), ("1e999", 60),
    ],
)  # fmt: skip
def test_a_time_to_wait(
    ask: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, value: str, wait: float | None
) -> None:
    """A minute at most; what is not a time is left aside, and the first pause is half a second."""
    waits = []
    sleep = asyncio.sleep

    async def noted(delay: float) -> None:
        waits.append(delay)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    replies = iter([Reply(status=429, headers={"Retry-After": value})])
    done = ask(lambda asked: next(replies, GOOD), "--judge-retries", 1)
    assert done.result["unscored"]["count"] == 0
    (waited,) = waits
    assert 0.25 <= waited <= 0.5 if wait is None else waited == wait


def test_a_body_that_drips(ask: Callable[..., Done]) -> None:
    """The time of a try covers all of its body."""
    done = ask(lambda asked: Reply(drip=0.2), "--judge-retries", 0, "--judge-timeout", 0.5)
    assert done.result["unscored"]["reasons"] == {"no answer within 0.5 s": 3}


def test_what_nobody_foresaw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a judge that is an engine: one question's error is that question's."""

    async def broken(self: EngineJudge, request: Request) -> Answer:
        if "Caption 0." in request.prompt:
            raise ZeroDivisionError("by nought")
        return Answer(text=GOOD.text, finish_reason="stop", prompt_tokens=0, output_tokens=0)

    monkeypatch.setattr(EngineJudge, "ask", broken)
    rows = [{"video_id": f"v{at}", "caption": f"Caption {at}."} for at in range(3)]
    inputs = jsonl(tmp_path / "c.jsonl", rows)
    done = evaluate(
        "--suite", "ugc", "--input", inputs, "--labels", inputs, "--scores", tmp_path / "out",
        "--judge-engine", "models/tiny-omni", "--max-unscored-rate", 0.5,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.result["unscored"]["reasons"] == {"unexpected ZeroDivisionError: by nought": 3}
