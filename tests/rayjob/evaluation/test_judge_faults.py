"""A judge that fails in part: unscored and counted, figures over the rest, asked again later."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.evaluations import Done, evaluate, jsonl, scores
from tests.support.judge_server import JudgeServer, Reply, part, prompt_of

VIDEOS = 24
GOOD = Reply('{"visual": 5, "audio": 3, "details": 4}')
IMPATIENT = 1.5
"""Seconds: shorter than the delay of one of the faults, long for a busy machine."""
KEY = "sk-very-secret-0123456789"


def number(asked: dict[str, Any]) -> int:
    return int(part(asked, "caption").split()[-1].rstrip("."))


def faulty(asked: dict[str, Any]) -> Reply:
    """Good answers, but for eight kinds of fault in as many videos."""
    return {
        0: Reply(status=500, body="out of order"),
        1: Reply(delay=2.5),
        2: Reply("I would rather not say."),
        3: Reply('{"visual": 9, "audio": 3, "details": 4}'),  # one dimension out of range
        4: Reply('{"visual": 0, "audio": -1, "details": 2.5}'),
        5: Reply('{"visual": 5, "audio": 3}'),  # one missing
        6: Reply(body="<html>not an API</html>"),
        7: Reply(status=400, body=f"content filter; the key was {KEY}"),
    }.get(number(asked), GOOD)


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    rows = [{"video_id": f"v{at:02d}", "caption": f"Caption {at}."} for at in range(VIDEOS)]
    truth = [{"video_id": f"v{at:02d}", "caption": f"Reference {at}."} for at in range(VIDEOS)]
    return jsonl(tmp_path / "captions.jsonl", rows), jsonl(tmp_path / "labels.jsonl", truth)


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer(faulty) as running:
        yield running


@pytest.fixture
def ask(server: JudgeServer, inputs: tuple[Path, Path], tmp_path: Path) -> Callable[..., Done]:
    def run(*extra: object) -> Done:
        return evaluate(
            "--suite", "ugc", "--input", inputs[0], "--labels", inputs[1],
            "--scores", tmp_path / "out", "--judge-url", server.url, "--judge-model", "judge-1",
            "--judge-timeout", 10, "--judge-retries", 1, *extra,
        )  # fmt: skip

    return run


def test_faults_are_unscored_and_a_rerun_asks_for_them_only(
    ask: Callable[..., Done],
    server: JudgeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    first = ask(
        "--judge-key-env", "JUDGE_KEY", "--max-unscored-rate", 0.5, "--judge-timeout", IMPATIENT
    )
    assert first.code == 0, first.stderr

    # Six videos without any score; of videos 3 and 5 one dimension is missing each.
    assert {name: first.figure(name)["unscored"] for name in ("visual", "audio", "details")} == {
        "visual": 7, "audio": 6, "details": 7,
    }  # fmt: skip
    assert first.result["unscored"]["count"] == first.figure("average")["unscored"] == 20
    assert first.result["unscored"]["of"] == 3 * VIDEOS
    assert first.values() == {"visual": 100.0, "audio": 60.0, "details": 80.0, "average": 80.0}
    assert first.figure("audio")["n"] == VIDEOS - 6
    rows = scores(tmp_path / "out")
    assert len(rows) == 3 * VIDEOS
    reasons = {row["video_id"]: row["reason"] for row in rows if row["score"] is None}
    for video, words in {
        "v00": "HTTP 500, 2 times",
        "v01": "no answer within 1.5 s",
        "v02": "not JSON",
        "v03": "visual: 9 is not one of 1, 2, 3, 4, 5",
        "v05": "no details",
        "v06": "not a chat completion",
        "v07": "HTTP 400: content filter",
    }.items():
        assert words in reasons[video], reasons[video]
    assert {row["judge_model"] for row in rows} == {"judge-1"}
    assert all(row["question"] and row["prompt_hash"] for row in rows)
    assert {row["raw_answer"] for row in rows if row["video_id"] == "v10"} == {GOOD.text}

    # Asked with the key; a rerun asks for the eight alone, and gets them now.
    assert set(server.keys) == {f"Bearer {KEY}"}
    server.requests.clear()
    server.behaviour = lambda asked: GOOD
    again = ask("--judge-key-env", "JUDGE_KEY")
    assert again.code == 0
    assert sorted(number(asked) for asked in server.requests) == list(range(8))
    assert again.result["asked"] == 8
    assert again.figure("average")["n"] == VIDEOS and again.figure("average")["unscored"] == 0
    assert len(scores(tmp_path / "out")) == 3 * VIDEOS

    # And then for nothing, also without an endpoint; another judge starts from nothing.
    server.requests.clear()
    assert ask().values() == again.values()
    assert server.requests == []
    ask("--judge-model", "judge-2")
    assert len(server.requests) == VIDEOS

    # The key is nowhere: not in what was printed, not in what was written.
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in first.stdout + first.stderr + again.stdout + str(rows)
    assert KEY.encode() not in written


def test_too_many_unscored_is_exit_code_3(ask: Callable[..., Done]) -> None:
    done = ask("--max-unscored-rate", 0.2, "--judge-timeout", IMPATIENT)
    assert done.code == 3
    assert done.result["unscored"]["count"] == 20
    assert "20 of 72 scores" in done.stderr


def test_a_changed_caption_or_label_is_asked_again(
    ask: Callable[..., Done], server: JudgeServer, inputs: tuple[Path, Path]
) -> None:
    server.behaviour = lambda asked: GOOD
    ask()
    server.requests.clear()
    for path, old, new in (
        (inputs[0], "Caption 20.", "Another caption 20."),
        (inputs[1], "Reference 21.", "Another reference."),
    ):
        path.write_text(path.read_text().replace(old, new))
    ask()
    assert sorted(number(asked) for asked in server.requests) == [20, 21]


def test_refused_parameters_are_left_out_once(
    ask: Callable[..., Done], server: JudgeServer
) -> None:
    """An endpoint without guided decoding, of a model that takes another name for the limit."""

    def picky(asked: dict[str, Any]) -> Reply:
        if "response_format" in asked:
            return Reply(status=400, body="unknown field")
        if "max_tokens" in asked:
            return Reply(status=400, body="max_tokens is not supported with this model")
        return Reply("Here you are:\n```json\n" + GOOD.text + "\n```")

    server.behaviour = picky
    done = ask("--judge-concurrency", 1)
    assert done.code == 0 and done.values()["average"] == 80.0
    # Two were refused, once each; then every video is asked for once.
    assert len(server.requests) == VIDEOS + 2
    assert "response_format" in server.requests[0]
    assert all("max_completion_tokens" in asked for asked in server.requests[2:])


def test_guided_decoding_is_asked_for(ask: Callable[..., Done], server: JudgeServer) -> None:
    server.behaviour = lambda asked: GOOD
    ask()
    form = server.requests[0]["response_format"]["json_schema"]["schema"]
    assert form["properties"]["visual"] == {"type": "integer", "enum": [1, 2, 3, 4, 5]}
    assert form["required"] == ["visual", "audio", "details"]
    assert server.requests[0]["temperature"] == 1.0
    assert len(server.requests) == VIDEOS


def test_it_waits_as_long_as_it_is_told(ask: Callable[..., Done], server: JudgeServer) -> None:
    seen = Counter[int]()

    def slow_down(asked: dict[str, Any]) -> Reply:
        seen[number(asked)] += 1
        if seen[number(asked)] == 1:
            return Reply(status=429, headers={"Retry-After": "0.7"})
        return GOOD

    server.behaviour = slow_down
    done = ask("--limit", 1)
    assert done.code == 0 and done.result["unscored"]["count"] == 0
    assert server.times[1] - server.times[0] >= 0.7


def test_requests_keep_the_pace(ask: Callable[..., Done], server: JudgeServer) -> None:
    server.behaviour = lambda asked: GOOD
    began = time.monotonic()
    ask("--limit", 5, "--judge-rpm", 600)
    # The fifth may go four tenths of a second after the first, however late they arrive.
    assert len(server.times) == 5 and server.times[-1] - began >= 0.4


@pytest.mark.parametrize(
    ("status", "words"), [(401, "refuses the key"), (404, "or the model 'judge-1'")]
)
def test_an_endpoint_that_cannot_be_used_ends_the_evaluation(
    ask: Callable[..., Done], server: JudgeServer, status: int, words: str
) -> None:
    server.behaviour = lambda asked: Reply(status=status, body="no")
    done = ask("--judge-concurrency", 2)
    assert done.code == 2 and words in done.stderr
    assert len(server.requests) <= 2


def test_nobody_listens(ask: Callable[..., Done], server: JudgeServer) -> None:
    done = ask("--judge-url", "http://127.0.0.1:9/v1")
    assert done.code == 2 and "nothing answers at" in done.stderr


def test_a_missing_key_is_usage(ask: Callable[..., Done], tmp_path: Path) -> None:
    assert ask("--judge-key-env", "NOT_SET_ANYWHERE").code == 2
    done = ask("--judge-key-file", tmp_path / "no-such-file")
    assert done.code == 2 and "cannot be read" in done.stderr


def test_a_caption_is_no_template(tmp_path: Path, server: JudgeServer) -> None:
    """Braces and marks in a caption reach the judge as they are."""
    text = 'It reads "{reference}" and [bold]{"visual": 5}[/bold] 9.'
    rows = jsonl(tmp_path / "c.jsonl", [{"video_id": "v", "caption": text}])
    truth = jsonl(tmp_path / "l.jsonl", [{"video_id": "v", "caption": "A sign."}])
    done = evaluate(
        "--suite", "ugc", "--input", rows, "--labels", truth, "--scores", tmp_path / "o",
        "--judge-url", server.url, "--judge-model", "j",
    )  # fmt: skip
    assert done.code == 0
    assert part(server.requests[0], "caption") == text
    assert part(server.requests[0], "reference") == "A sign."


def quizmaster(asked: dict[str, Any]) -> Reply:
    """Answers from the caption by looking for one word in it."""
    prompt = prompt_of(asked)
    if "Correct answer:" in prompt:
        lines = dict(line.split(": ", 1) for line in prompt.splitlines() if ": " in line)
        right = lines["Answer to grade"].startswith(lines["Correct answer"])
        return Reply(json.dumps({"correct": right}))
    caption = part(asked, "caption")
    if "A. " in prompt:
        known = "beeps" in caption
        return Reply('{"answer": "b."}' if known else '{"answer": "unknown"}')
    return Reply(json.dumps({"answer": "red of course" if "red" in caption else "unknown"}))


def test_questions_are_answered_from_the_caption(tmp_path: Path, server: JudgeServer) -> None:
    server.behaviour = quizmaster
    captions = ["A red circle. It beeps: beeps.", "A red star.", "Nothing."]
    rows = jsonl(
        tmp_path / "c.jsonl",
        [{"video_id": f"v{at}", "caption": text} for at, text in enumerate(captions)],
    )
    quiz = [
        {"video_id": f"v{at}", **each}
        for at in range(3)
        for each in (
            {"type": "visual", "question": "Which colour?", "answer": "red"},
            {"type": "joint", "question": "Which colour beeps?", "answer": "blue"},
            {
                "type": "audio",
                "question": "What is heard?",
                "answer": "B",
                "options": ["A. noise", "B. beeps", "C. speech"],
            },
        )
    ]
    asked = jsonl(tmp_path / "q.jsonl", quiz)
    arguments = (
        "--suite", "ugc", "--input", rows, "--questions", asked, "--scores", tmp_path / "o",
        "--judge-url", server.url, "--judge-model", "j",
    )  # fmt: skip
    done = evaluate(*arguments)
    assert done.code == 0, done.stderr
    found = {name: round(value, 2) for name, value in done.values().items()}
    assert found == {
        "questions audio": 33.33,
        "questions visual": 66.67,
        "questions joint": 0.0,
        "questions answered": 55.56,
    }
    assert done.figure("questions audio")["method"] == "equality"
    assert done.figure("questions visual")["method"] == "equality + judge"
    # Nine answers, and two gradings, as those of the first two videos are the same question.
    assert len(server.requests) == 11
    assert evaluate(*arguments).values() == done.values()
    assert len(server.requests) == 11
