"""What a person sees of a running job: a line per stage on a terminal, else almost nothing."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

logger = logging.getLogger("rayjob")

_LOG_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a run stands. Counts of videos, unless named otherwise.

    Attributes:
        todo: videos of this run.
        decoded: videos that have reached an engine.
        captioned, failed: videos whose rows are made.
        written: caption rows that are taken over by the writer.
        running: requests in the engines now.
        engines: replicas that have started.
    """

    todo: int
    decoded: int
    captioned: int
    failed: int
    written: int
    running: int
    engines: int


class Progress:
    """Shows states. On a terminal a table that updates itself, elsewhere one log line a minute
    and one at the end.

    Args:
        console: where to; its ``is_terminal`` decides.
    """

    def __init__(self, console: Console) -> None:
        self._started = time.monotonic()
        self._first_result: float | None = None
        self._live = Live(console=console, refresh_per_second=2) if console.is_terminal else None
        self._logged_at = self._started
        self._last: State | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._last is not None:
            self._log(self._last)

    def update(self, state: State) -> None:
        """Show a state."""
        now = time.monotonic()
        done = state.captioned + state.failed
        if done and self._first_result is None:
            self._first_result = now
        self._last = state
        if self._live is not None:
            self._live.update(self._table(state, self._rate(done, now), now))
        elif now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            self._log(state)

    def _log(self, state: State) -> None:
        done = state.captioned + state.failed
        rate = self._rate(done, time.monotonic())
        logger.info(
            "%d of %d videos done (%d failed), %d engines, %.2f/s, %s left",
            done, state.todo, state.failed, state.engines, rate,
            _time_left(state.todo - done, rate),
        )  # fmt: skip

    def _rate(self, done: int, now: float) -> float:
        """Videos per second since the first one was done: start-up would distort it."""
        if self._first_result is None or now - self._first_result < 1.0:
            return 0.0
        return done / (now - self._first_result)

    def _table(self, state: State, rate: float, now: float) -> Table:
        table = Table.grid(padding=(0, 2))
        waiting = "" if state.engines else "starting the engine ..."
        table.add_row("decode", f"{state.decoded} of {state.todo}", "", _clock(now - self._started))
        table.add_row(
            "caption",
            waiting or f"{state.captioned} done, {state.running} in flight",
            f"{rate:.2f}/s" if rate else "",
            f"{state.failed} failed" if state.failed else "",
        )
        left = state.todo - state.captioned - state.failed
        table.add_row("write", f"{state.written} written", "", f"{left} left")
        if rate and left:
            table.add_row("", "", "", f"about {_time_left(left, rate)} to go")
        return table


def _time_left(videos: int, rate: float) -> str:
    if not videos:
        return _clock(0)
    return _clock(videos / rate) if rate else "?"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
