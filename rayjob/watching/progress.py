"""What a person sees of a running job: a line per stage on a terminal, else almost nothing."""

from __future__ import annotations

import logging
import time
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from actors.monitor import Snapshot
from rayjob.counts import Counts, clock, counted, pace

logger = logging.getLogger("rayjob")

_LOG_SECONDS = 60.0


class Progress:
    """Shows how a run goes. On a terminal a table that updates itself, elsewhere one log line a
    minute and one at the end.

    Args:
        console: where to; its ``is_terminal`` decides.
        todo: videos of the run.
        engines: whether it has any.
    """

    def __init__(self, console: Console, *, todo: int, engines: bool = True) -> None:
        self._todo = todo
        self._has_engines = engines
        self._started = time.monotonic()
        self._first_result: float | None = None
        self._live = Live(console=console, refresh_per_second=2) if console.is_terminal else None
        self._logged = self._started, 0  # when, and the engines' tokens then
        self._last: tuple[Counts, Snapshot] | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._last is not None:
            self._log(*self._last)

    def update(self, counts: Counts, snapshot: Snapshot) -> None:
        """Show where the run stands."""
        now = time.monotonic()
        if counts.videos and self._first_result is None:
            self._first_result = now
        self._last = counts, snapshot
        if self._live is not None:
            self._live.update(self._table(counts, snapshot, now))
        elif now - self._logged[0] >= _LOG_SECONDS:
            self._log(counts, snapshot)

    def _log(self, counts: Counts, snapshot: Snapshot) -> None:
        now = time.monotonic()
        since, before = self._logged
        self._logged = now, snapshot.tokens
        rate = self._rate(counts, now)
        parts = [f"{counts.videos} of {self._todo} videos done ({counts.videos_failed} failed)"]
        if snapshot.engines:
            parts += [
                counted(len(snapshot.engines), "engine"),
                f"{counted(snapshot.running, 'request')} running",
                f"{(snapshot.tokens - before) / max(now - since, 0.001):.0f} tokens/s",
            ]
        elif self._has_engines:
            parts.append("starting the engine")
        if rate:
            parts += [pace(rate), f"{clock((self._todo - counts.videos) / rate)} left"]
        logger.info("%s", ", ".join(parts))

    def _rate(self, counts: Counts, now: float) -> float:
        """Videos per second since the first one was done: start-up would distort it."""
        if self._first_result is None or now - self._first_result < 1.0:
            return 0.0
        return counts.videos / (now - self._first_result)

    def _table(self, counts: Counts, snapshot: Snapshot, now: float) -> Table:
        table, rate = Table.grid(padding=(0, 2)), self._rate(counts, now)
        decoded, left = snapshot.received, self._todo - counts.videos
        table.add_row("decode", f"{decoded} of {self._todo}", "", clock(now - self._started))
        table.add_row(
            "caption" if self._has_engines else "split",
            f"{counts.videos_captioned} done, {snapshot.running} in flight"
            if snapshot.engines or not self._has_engines
            else "starting the engine ...",
            pace(rate),
            f"{counts.videos_failed} failed" if counts.videos_failed else "",
        )
        table.add_row("write", f"{counts.captions + counts.segments} written", "", f"{left} left")
        if rate and left:
            table.add_row("", "", "", f"about {clock(left / rate)} to go")
        return table
