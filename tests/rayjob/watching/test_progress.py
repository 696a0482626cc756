"""What a person reads of a running job."""

from __future__ import annotations

import io
import logging
import time

import pytest
from rich.console import Console

from actors.engine.stats import EngineStats
from actors.monitor import Snapshot
from rayjob.counts import Counts
from rayjob.watching.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def engine(running: int, tokens: int) -> EngineStats:
    return EngineStats(running=running, prompt_tokens=tokens, output_tokens=tokens)


def test_the_log_shows_a_slow_model_alive(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rayjob")
    with Progress(Console(file=io.StringIO()), todo=40) as progress:
        clock.now += 61
        progress.update(Counts(), Snapshot())
        clock.now += 61
        progress.update(Counts(), Snapshot(received=9, engines=(engine(9, 610),)))
        progress.update(Counts(videos_captioned=1), Snapshot(engines=(engine(9, 700),)))
        clock.now += 60
        after = Snapshot(received=12, engines=(engine(1, 700), engine(0, 0)))
        progress.update(Counts(videos_captioned=11, videos_failed=1), after)
    start, alive, later, end = caplog.messages
    assert start == "0 of 40 videos done (0 failed), starting the engine"
    assert alive == "0 of 40 videos done (0 failed), 1 engine, 9 requests running, 20 tokens/s"
    assert later == (
        "12 of 40 videos done (1 failed), 2 engines, 1 request running, 3 tokens/s, "
        "12 a minute, 2:20 left"
    )
    assert end.startswith("12 of 40 videos done (1 failed), 2 engines")


def test_the_table_of_a_terminal(clock: Clock) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    with Progress(console, todo=4) as progress:
        progress.update(Counts(), Snapshot())
        progress.update(
            Counts(videos_captioned=1, captions=1), Snapshot(received=3, engines=(engine(2, 5),))
        )
        clock.now += 30
        progress.update(
            Counts(videos_captioned=1, captions=1), Snapshot(received=3, engines=(engine(2, 5),))
        )
    text = shown.getvalue()
    for part in ("3 of 4", "1 done, 2 in flight", "2.0 a minute", "1 written", "3 left", "1:30"):
        assert part in text
    assert "0.0" not in text.replace("2.0", "")
