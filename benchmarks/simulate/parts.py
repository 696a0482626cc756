"""What a simulated run is made of: a clock, servers, an engine that batches, and who has
which task. Times in seconds.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count


class Clock:
    """Calls what is due, in order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, time: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time, next(self._numbers), call))

    def step(self) -> bool:
        """Go to what is due next; False where nothing is."""
        if not self._due:
            return False
        self.now, _, call = heapq.heappop(self._due)
        call()
        return True


class Server:
    """Takes one thing after the other, as they come.

    Attributes:
        busy: seconds that it has worked.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._works = False
        self.busy = 0.0

    def ask(self, seconds: float, done: Callable[[], None]) -> None:
        """Work so long, then call."""
        self._waiting.append((seconds, done))
        if not self._works:
            self._next()

    def _next(self) -> None:
        self._works = bool(self._waiting)
        if self._works:
            seconds, done = self._waiting.popleft()
            self._clock.at(self._clock.now + seconds, lambda: self._over(seconds, done))

    def _over(self, seconds: float, done: Callable[[], None]) -> None:
        self.busy += seconds
        done()
        self._next()


class Batch:
    """The requests that an engine has: each as fast as alone while they are few, and all together
    at the engine's full rate from then on.

    Args:
        places: requests that run at once; others wait.
        alone_sec: of an average request that runs alone.
        per_sec: requests a second at full rate.
        share: how much of its speed the engine has, from 0 to 1.

    Attributes:
        busy: seconds with at least one request.
        work: requests that ran, in units of average ones.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        places: int,
        alone_sec: float,
        per_sec: float,
        share: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._places, self._alone, self._rate, self._share = places, alone_sec, per_sec, share
        self._running: list[tuple[float, int, float, Callable[[], None]]] = []
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._numbers = count()
        self._reached = 0.0  # work done on each request that has run from the start on
        self._at = 0.0
        self._speed = 0.0
        self._version = 0
        self.busy = self.work = 0.0

    @property
    def is_busy(self) -> bool:
        return bool(self._running)

    def ask(self, work: float, done: Callable[[], None]) -> None:
        """Run a request of so much work, then call."""
        self._go_on()
        if len(self._running) < self._places:
            self._start(work, done)
        else:
            self._waiting.append((work, done))
        self._plan()

    def close(self) -> None:
        """Forget all requests: the engine is gone."""
        self._go_on()
        self._running.clear()
        self._waiting.clear()
        self._plan()

    def _start(self, work: float, done: Callable[[], None]) -> None:
        heapq.heappush(self._running, (self._reached + work, next(self._numbers), work, done))

    def _go_on(self) -> None:
        passed, self._at = self._clock.now - self._at, self._clock.now
        self._reached += passed * self._speed
        self.busy += passed * self.is_busy

    def _plan(self) -> None:
        self._version += 1
        if not self._running:
            self._speed = 0.0
            return
        self._speed = self._share() * min(1 / self._alone, self._rate / len(self._running))
        version, left = self._version, max(0.0, self._running[0][0] - self._reached)
        self._clock.at(self._clock.now + left / self._speed, lambda: self._over(version))

    def _over(self, version: int) -> None:
        if version != self._version:  # something has begun or ended since
            return
        self._go_on()
        _, _, work, done = heapq.heappop(self._running)
        self.work += work
        if self._waiting:
            self._start(*self._waiting.popleft())
        self._plan()
        done()


@dataclass(eq=False)
class Task:
    """Some videos on their way; node: where they are decoded, left: not yet captioned."""

    videos: int
    left: int
    node: int = 0


@dataclass(eq=False)
class Decoder:
    """tasks: all that are its own, waiting: those that have reached it and not begun."""

    node: int
    tasks: list[Task] = field(default_factory=list)
    works: bool = False
    waiting: deque[Task] = field(default_factory=deque)
    dead: bool = False


@dataclass(eq=False)
class Engine:
    """tasks: all that are its own, calls: those at hand, waiting: others that have reached it;
    videos: of those at hand that wait to be let in, inside: those that are.
    """

    node: int
    prepare: Server
    batch: Batch
    tasks: dict[Task, None] = field(default_factory=dict)
    calls: int = 0
    waiting: deque[Task] = field(default_factory=deque)
    videos: deque[Task] = field(default_factory=deque)
    inside: int = 0
    dead: bool = False
