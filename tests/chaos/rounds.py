"""Rounds of chaos: a run over many videos on a cluster whose parts are killed and stopped, and
whose storage fails, until a run ends well; then nothing is lost, twice, or left behind.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from rayjob.output.store import TableStore
from schemas.media import StorageOptions
from tests.chaos.driver import ENGINE, HOST, LOCK_SEC, SLEPT
from tests.chaos.invariant import difference, listed, read_plainly, twice
from tests.chaos.parts import PARTS, Tormentor
from tests.support import jobs
from tests.support.fault_proxy import FaultProxy
from tests.support.ray_nodes import RayCluster
from tinyworld.s3 import S3Gateway

WORKERS = ("worker-1", "worker-2")
NODE_CPUS = 3

_SETTINGS = (
    "decode.actors=2", "decode.limits.wall_seconds=10", "engine.engines=1",
    "engine.videos_in_flight=8", "shards.rows=12", "shards.seconds=4",
    "health.engine_silent_sec=8", "health.run_silent_sec=40",
    "storage.timeout_sec=5", "storage.retries=8",
)  # fmt: skip

_TORMENTED_RUNS = 3
"""Then processes are left alone, and one more run has to do what is left."""

_PASSING = {"slow_down": 0.06, "internal": 0.05, "reset": 0.04, "reset_after": 0.03, "cut": 0.03}
"""Faults of the storage that no run must fail of."""

_TORMENT_SEC = 60.0
"""Then the next run is started, also where this one has not ended."""

_LONGEST_SEC = 300.0
"""A run that has not ended so long after the last fault hangs."""


@dataclass(kw_only=True)
class Place:
    """Where rounds take place.

    Attributes:
        bucket: holds the videos below ``in/``.
        ids: of the videos.
        proxy: on the way from the cluster to the storage.
    """

    cluster: RayCluster
    gateway: S3Gateway
    proxy: FaultProxy
    bucket: str
    ids: Sequence[str]
    folder: Path

    @property
    def slept(self) -> Path:
        return self.folder / "slept"

    def env(self, *, host: str, engine: str) -> dict[str, str]:
        return {
            **self.cluster.env,
            "RAY_ADDRESS": self.cluster.address,
            "AWS_ENDPOINT_URL": self.proxy.endpoint_url,
            HOST: host,
            SLEPT: str(self.slept),
            ENGINE: engine,
        }

    def repair(self) -> None:
        """Start nodes anew whose raylet is gone."""
        lines = list[str]()
        for each in self.cluster.processes():
            with contextlib.suppress(psutil.Error):
                lines.append(" ".join(each.cmdline()))
        for name in WORKERS:
            if not any(
                PARTS["raylet"] in line and line.endswith(f"--node-name={name}") for line in lines
            ):
                self.cluster.kill(name)
                self.cluster.add(name, cpus=NODE_CPUS)


@dataclass(kw_only=True)
class Round:
    """One round.

    Attributes:
        faults: what was done how often.
        late: requests that were held, and carried out later.
        codes: exit codes of the runs, in the order of their ends.
        wrong: what must not be.
    """

    place: Place
    seed: int
    engine: str = "null"
    faults: Counter[str] = field(default_factory=Counter)
    late: int = 0
    codes: list[int | None] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._output = f"s3://{self.place.bucket}/round-{self.seed}"
        # Not through the proxy: what is there, whatever the clients are told.
        direct = StorageOptions(endpoint_url=self.place.gateway.endpoint_url)
        self._store = TableStore(self._output, direct)
        self._runs = list[subprocess.Popen[bytes]]()
        self._log = self.place.folder / f"round-{self.seed}.log"

    def run(self) -> None:
        """Runs and faults, until a run ends well; then look at what there is."""
        proxy, before = self.place.proxy, self.place.proxy.counts
        self._sleep(0.0)
        with Tormentor(random.Random(self.seed), self._living, pause=1.5) as tormentor:
            for _ in range(_TORMENTED_RUNS):
                self._break_storage()
                if self._tormented_run():
                    break
        self.faults.update(tormentor.done)
        proxy.break_requests(_PASSING)
        self.place.repair()
        self._end_of_all()
        if self.codes[-1] not in (0, 3):
            self._finish("a run that is left alone")
        self._check(after="the last run", also_plain=True)
        self.late += proxy.deliver()
        self._check(after="what was held until then", also_plain=False)
        self._finish("a run with nothing to do")
        self._check(after="the run after them", also_plain=True)
        self.wrong += [f"{each} is left" for each in tormentor.survivors(within=30)]
        for folder in ("runs/_locks", "runs/_tmp"):
            self.wrong += [f"{entry.path} is left" for entry in self._store.list(folder)]
        self.faults.update(proxy.counts - before)
        del self.faults["passed"]

    @property
    def said(self) -> str:
        """The end of what the runs printed."""
        return self._log.read_text(errors="replace")[-6000:]

    def __str__(self) -> str:
        told = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        return (
            f"round {self.seed}: exit codes {self.codes}, {self.late} requests carried out late, "
            f"{self.faults.total()} faults: {told}"
        )

    def _break_storage(self) -> None:
        kinds = ("slow_down", "internal", "reset", "reset_after", "cut", "stall")
        shares = {kind: self._chance.uniform(0, 0.08) for kind in kinds}
        shares |= {"denied": self._chance.choice((0, 0, 0.003)), "hold": 0.02}
        self.place.proxy.break_requests(shares, stall_sec=self._chance.choice((0.5, 4.0, 6.0)))

    def _tormented_run(self) -> bool:
        """Start a run, and now and then another one beside it; whether one of them ended well."""
        self.place.repair()
        self._start()
        deadline = time.monotonic() + _TORMENT_SEC
        while any(run.poll() is None for run in self._runs) and time.monotonic() < deadline:
            self._collect()
            if self.codes[-1:] == [0]:
                break
            time.sleep(0.25)
            dice = self._chance.random()
            if dice < 0.01:
                self.place.proxy.jump(self._chance.choice((-30, 3, 30)))
                self.faults["storage's clock jumped"] += 1
            elif dice < 0.013:
                self._sleep(self._slept + 2 * LOCK_SEC)
                self.faults["machine slept"] += 1
            elif dice < 0.023:
                self.late += self.place.proxy.deliver()
            elif dice < 0.043 and len(self._runs) < 2:
                self._start()
                self.faults["rival started"] += 1
            if self._chance.random() < 0.02:
                self.place.repair()
        self._collect()
        if problem := twice(listed(self._store)):
            self.wrong.append(f"listed twice after a run that may have died: {problem}")
        return 0 in self.codes or 3 in self.codes

    def _sleep(self, seconds: float) -> None:
        """Let the drivers' machine have slept for so long since the round began."""
        self._slept = seconds
        new = self.place.slept.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.place.slept)  # they read it at any moment

    def _start(self) -> None:
        # A run on another machine cannot see whether the one that holds the lock is dead.
        host = self._chance.choice(("here", f"elsewhere-{self._chance.randrange(1000)}"))
        flags = [word for setting in _SETTINGS for word in ("--set", setting)]
        words = jobs.command(
            [
                *jobs.DEMO, "--input", f"s3://{self.place.bucket}/in/", "--output", self._output,
                *flags,
            ],
            module="tests.chaos.driver",
        )  # fmt: skip
        with self._log.open("ab") as log:
            run = subprocess.Popen(
                words, cwd=jobs.ROOT, stdout=log, stderr=log,
                env=self.place.env(host=host, engine=self.engine),
            )  # fmt: skip
        self._runs.append(run)

    def _collect(self) -> None:
        for run in [each for each in self._runs if each.poll() is not None]:
            self._runs.remove(run)
            self.codes.append(run.returncode)

    def _end_of_all(self) -> None:
        """Let what is at work end, without faults."""
        deadline = time.monotonic() + _LONGEST_SEC
        for run in self._runs:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(timeout=max(1.0, deadline - time.monotonic()))
        self._collect()
        for run in self._runs:
            self.wrong.append(f"run {run.pid} does not end")
            run.kill()
            self.codes.append(run.wait())
        self._runs.clear()

    def _finish(self, what: str) -> None:
        self._start()
        self._end_of_all()
        if self.codes[-1] != 0:
            self.wrong.append(f"{what} ended with {self.codes[-1]}")

    def _living(self) -> Iterator[psutil.Process]:
        yield from self.place.cluster.processes()
        for run in list(self._runs):
            with contextlib.suppress(psutil.NoSuchProcess):
                driver = psutil.Process(run.pid)
                yield from (driver, *driver.children(recursive=True))

    # ---- what must be so

    def _check(self, *, after: str, also_plain: bool) -> None:
        seen = {"by the list": listed(self._store)}
        if also_plain:
            seen["by a plain read"] = read_plainly(self._store)
        for how, ids in seen.items():
            if problem := difference(ids, self.place.ids):
                self.wrong.append(f"after {after}, {how}: {problem}")


def fault_counts(rounds: Sequence[Round]) -> Counter[str]:
    """All faults of some rounds, by kind."""
    return sum((each.faults for each in rounds), Counter[str]())
