"""When a run stops early: rules over what it sees of itself, and the failures it keeps back.

Many videos in a row that fail for reasons that may lie outside them accuse their surroundings:
storage, network, credentials, machines, engine. So such failures are held back from the tables
until something is read, or answered, after them. If nothing is, the run stops, and the next one
finds these videos as they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.monitor import Snapshot
from rayjob.counts import counted
from schemas.config import HealthConfig
from schemas.errors import DOUBTFUL
from schemas.tables import RESULTS, schema_of


@dataclass(kw_only=True)
class Streak:
    """Failures of one side in a row, held back.

    Attributes:
        what: what the videos could not be, for messages.
        stages: of the failures that count.
        evidence: a counter that grows when this side does its work.
        held: tables of :data:`schemas.tables.RESULTS`, one row each.
    """

    what: str
    stages: tuple[str, ...]
    evidence: Callable[[Snapshot], int]
    held: list[pa.Table] = field(default_factory=list)
    _seen: int = 0

    def has_worked(self, snapshot: Snapshot) -> bool:
        """Whether the evidence has grown since the last look."""
        seen, self._seen = self._seen, self.evidence(snapshot)
        return self._seen > seen

    def failures(self) -> list[dict[str, Any]]:
        """The first failure row of each video."""
        return [table.column("failures")[0].as_py()[0] for table in self.held]


class Quarantine:
    """Holds back the failures that may accuse the surroundings."""

    def __init__(self) -> None:
        self.streaks = (
            Streak(what="read", stages=("open", "decode"), evidence=lambda seen: seen.readable),
            Streak(what="captioned", stages=("caption",), evidence=lambda seen: seen.pieces),
        )

    def admit(self, results: pa.Table) -> pa.Table:
        """The rows of a table of :data:`schemas.tables.RESULTS` that may be written now."""
        if not pc.sum(pc.list_value_length(results.column("failures"))).as_py():
            return results
        kept = np.ones(results.num_rows, dtype=bool)
        for index in range(results.num_rows):
            streak = self._streak_of(results, index)
            if streak is not None:
                streak.held.append(results.slice(index, 1))
                kept[index] = False
        return results.filter(pa.array(kept))

    def _streak_of(self, results: pa.Table, index: int) -> Streak | None:
        failures = results.column("failures")[index].as_py()
        # Where there are captions too, the engine has answered.
        if not failures or len(results.column(schema_of(results).names[1])[index]):
            return None
        first = failures[0]
        if first["cause"] not in DOUBTFUL:
            return None
        return next((each for each in self.streaks if first["stage"] in each.stages), None)

    def look(self, snapshot: Snapshot) -> pa.Table:
        """Compare with what the engines report; return what need not be held any more."""
        return _joined(each for each in self.streaks if each.has_worked(snapshot))

    def release(self) -> pa.Table:
        """All that is held, which it is no longer."""
        return _joined(self.streaks)


def _joined(streaks: Iterable[Streak]) -> pa.Table:
    tables = list[pa.Table]()
    for streak in streaks:
        tables += streak.held
        streak.held = []
    if not tables:
        return RESULTS.empty_table()
    return pa.concat_tables(tables, promote_options="default")


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """What the rules judge a run by.

    Attributes:
        silent_sec: time without any sign of progress.
        silent_limit: when that is too long.
    """

    snapshot: Snapshot
    streaks: tuple[Streak, ...] = ()
    silent_sec: float = 0.0
    silent_limit: float = float("inf")


Rule = Callable[[Vitals, HealthConfig], str | None]
"""Says why the run is to stop, or None where it may go on."""


def failing_in_a_row(vitals: Vitals, config: HealthConfig) -> str | None:
    """The videos cannot all be at fault."""
    for streak in vitals.streaks:
        if 0 < config.failures_in_a_row <= len(streak.held):
            failures = streak.failures()
            errors = Counter(failure["error"] for failure in failures)
            seen = ", ".join(f"{count} {error}" for error, count in errors.most_common())
            last = failures[-1]
            return (
                f"{counted(len(failures), 'video')} in a row could not be {streak.what} ({seen}), "
                "which accuses the surroundings and not the videos. None of them was written "
                f"down as failed. The last one was {last['video_id']}: {last['message']}. If it "
                "does lie in the videos, set health.failures_in_a_row=0"
            )
    return None


def engines_dying(vitals: Vitals, config: HealthConfig) -> str | None:
    """So many deaths are not the doing of a few videos."""
    seen, most = vitals.snapshot, config.engine_deaths_in_a_row
    if seen.deaths_in_a_row >= most:
        reason = (
            f"{counted(seen.deaths_in_a_row, 'engine')} died in a row "
            f"(health.engine_deaths_in_a_row: {most})"
        )
    elif seen.deaths > most and seen.deaths > config.engine_death_share * max(1, seen.received):
        reason = (
            f"{counted(seen.deaths, 'engine')} died for {counted(seen.received, 'video')} "
            f"(health.engine_death_share: {config.engine_death_share:g})"
        )
    else:
        return None
    return f"{reason}, the last one with {seen.died_with} in flight"


def standing_still(vitals: Vitals, config: HealthConfig) -> str | None:
    """Nothing has moved for long, and no engine is on its way."""
    starting = any(since < config.start_sec for since in vitals.snapshot.starting)
    if vitals.silent_sec <= vitals.silent_limit or starting:
        return None
    return f"nothing has moved for {vitals.silent_sec:.0f} s: no token, no decoded video, no result"


RULES: tuple[Rule, ...] = (failing_in_a_row, engines_dying, standing_still)


def reason_to_stop(vitals: Vitals, config: HealthConfig) -> str | None:
    """What the first rule says that wants the run to stop; None where all let it go on."""
    return next(filter(None, (rule(vitals, config) for rule in RULES)), None)


def silent_limit(config: HealthConfig, *, decode_sec: float) -> float:
    """Seconds of silence that end a run: longer than what an engine or a decoder may take.

    Args:
        decode_sec: wall time that a video may take to decode.
    """
    return max(config.run_silent_sec, 2 * config.engine_silent_sec, 2 * decode_sec)


def unconfined(snapshot: Snapshot) -> str:
    """A sentence about the layers of confinement that some node's kernel refused."""
    without = ", ".join(f"{name} ({why})" for name, why in snapshot.refused_layers.items())
    return f"videos are decoded without {without}; see rayjob doctor"


def where_it_stands(snapshot: Snapshot, *, todo: int, arrived: int) -> Iterator[str]:
    """Lines for a person: what each part of the run was doing."""
    yield f"{snapshot.received} of {counted(todo, 'video')} reached an engine, {arrived} came back"
    for stats, unheard in zip(snapshot.engines, snapshot.unheard, strict=True):
        yield (
            f"engine: {stats.running} running, {stats.waiting} being prepared, "
            f"{stats.requests} answered, {stats.silent_sec:.0f} s without a sign, "
            f"heard of {unheard:.0f} s ago"
        )
    for since in snapshot.starting:
        yield f"engine: starting for {since:.0f} s"
