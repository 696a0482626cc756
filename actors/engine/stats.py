"""Counters of an engine's replica, as the job's monitor, metrics and summary read them."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field

_LONGEST_SILENT_STEP = 5.0
"""Counters are brought up to date every second: where much more time has passed, this process was
suspended, and its engine with it."""


@dataclass(kw_only=True)
class EngineStats:
    """Counters of one replica since it started. Times in seconds.

    Attributes:
        started_at: seconds since 1970.
        alive_sec: time since the start.
        running: requests in the engine now.
        queued: of them, those that wait for a place in the batch, at its last step.
        kv_use: share of the KV cache in use then, 0 to 1.
        waiting: requests that are being prepared, or wait for it.
        busy_sec: time with at least one request in the engine.
        running_sec: integral of ``running`` over time.
        prompt_tokens, output_tokens: of the requests that are answered.
        pieces: of answers that came.
        silent_sec: time since the last sign of life while there was something to do.
    """

    started_at: float = field(default_factory=time.time)
    alive_sec: float = 0.0
    running: int = 0
    queued: int = 0
    kv_use: float = 0.0
    waiting: int = 0
    busy_sec: float = 0.0
    running_sec: float = 0.0
    requests: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    pieces: int = 0
    silent_sec: float = 0.0
    _changed_at: float = field(default_factory=time.monotonic)

    def step(self, change: int) -> None:
        """Account for the time since the last change, then change ``running``."""
        now = time.monotonic()
        passed, self._changed_at = now - self._changed_at, now
        self.alive_sec += passed
        self.running_sec += self.running * passed
        self.busy_sec += passed if self.running else 0.0
        is_idle = not self.running and not self.waiting
        self.silent_sec = 0.0 if is_idle else self.silent_sec + min(passed, _LONGEST_SILENT_STEP)
        self.running += change

    def sign(self) -> None:
        """Note a sign of life: a request was prepared, or a piece of an answer came."""
        self.step(0)
        self.silent_sec = 0.0


def busy_fraction(engines: Collection[EngineStats]) -> float | None:
    """Share of the time after start-up with at least one request running, over all engines; None
    where none started.
    """
    alive = sum(each.alive_sec for each in engines)
    return min(1.0, sum(each.busy_sec for each in engines) / alive) if alive > 0 else None


def mean_running(engines: Collection[EngineStats]) -> float | None:
    """Requests in an engine while it was busy, on average; None where none was."""
    busy = sum(each.busy_sec for each in engines)
    return sum(each.running_sec for each in engines) / busy if busy > 0 else None
