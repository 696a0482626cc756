"""The parts of a run on a cluster of this machine: found, killed, stopped and continued."""

from __future__ import annotations

import contextlib
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import psutil

PARTS: Mapping[str, str] = {
    "driver": "tests.chaos.driver",
    "raylet": "raylet/raylet",
    "engine": "Captioner)",
    "decoder": "MapBatches(Decoder)",
    "child": "actors.confinement.child",
}
"""Part of a run -> what its command line holds."""

_ALL_OF_A_RUN = (
    *(words for part, words in PARTS.items() if part != "raylet"),
    "ray::Monitor", "actors/guard.py", "VLLM::",
)  # fmt: skip

_WEIGHTS = {"driver": 1, "raylet": 1, "engine": 3, "decoder": 3, "child": 6}

_STOPPED_SEC = (0.3, 1, 3, 12)
"""The last is longer than the lock, or an engine's patience, allows."""

_WATCH_SEC = 0.3


class Tormentor:
    """A context: until its end, kills and stops what a seed draws.

    Args:
        living: all processes of the cluster and the drivers at this moment.
        pause: seconds from one fault to the next, on average.

    Attributes:
        done: how often what was done to which part.
    """

    def __init__(
        self,
        chance: random.Random,
        living: Callable[[], Iterable[psutil.Process]],
        *,
        pause: float,
    ) -> None:
        self._chance, self._living, self._pause = chance, living, pause
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="tormentor")
        self._seen = dict[psutil.Process, str]()
        self._stopped = list[tuple[float, psutil.Process]]()
        self.done = Counter[str]()

    def __enter__(self) -> Tormentor:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """What is stopped goes on."""
        self._end.set()
        self._thread.join()
        self._resume(math.inf)

    def survivors(self, *, within: float) -> list[str]:
        """Processes of runs that live on, ``within`` seconds later still."""
        ours = [
            each for each, line in self._seen.items() if any(word in line for word in _ALL_OF_A_RUN)
        ]
        _, alive = psutil.wait_procs(ours, timeout=within)
        return [f"{each.pid} {self._seen[each]}" for each in alive]

    def _run(self) -> None:
        due = time.monotonic() + self._pause
        while not self._end.wait(_WATCH_SEC):
            self._look()
            self._resume(time.monotonic())
            if time.monotonic() >= due:
                due += self._chance.uniform(0.1, 1.9) * self._pause
                self._torment()

    def _look(self) -> None:
        for each in self._living():
            # Titles change: a worker is named after its actor once it has one.
            with contextlib.suppress(psutil.Error):
                self._seen[each] = " ".join(each.cmdline()) or self._seen.get(each, "")

    def _torment(self) -> None:
        part = self._chance.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))[0]
        # Without its head there is no cluster.
        found = [
            each
            for each, line in self._seen.items()
            if PARTS[part] in line and "--node-name=head" not in line and each.is_running()
        ]
        if not found:
            return
        process, is_kill = self._chance.choice(found), self._chance.random() < 0.5
        seconds = self._chance.choice(_STOPPED_SEC)
        with contextlib.suppress(psutil.NoSuchProcess):
            if is_kill:
                process.kill()
            else:
                process.suspend()
                self._stopped.append((time.monotonic() + seconds, process))
            self.done[f"{part} {'killed' if is_kill else 'stopped'}"] += 1

    def _resume(self, now: float) -> None:
        for until, process in [each for each in self._stopped if each[0] <= now]:
            self._stopped.remove((until, process))
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
