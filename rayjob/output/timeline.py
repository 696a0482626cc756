"""How a run went over time: running totals, thinned to a bounded number of points.

``runs/ID/timeline.jsonl`` holds one JSON object of :class:`Point` per line, oldest first. It
is written whole, so that a reader sees an earlier state or a later one, never half a line.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, ValidationError

from actors.monitor import Snapshot
from rayjob.counts import Counts
from rayjob.output.layout import run_folder
from rayjob.output.store import TableStore
from schemas.errors import RayjobError

logger = logging.getLogger(__name__)

MAX_POINTS = 1000
_SPACING_SEC = 0.5
_SAVE_SEC = 60.0


class Point(BaseModel):
    """Where a run stood at one moment.

    Attributes:
        at: seconds since 1970.
        decoded: videos that had reached an engine.
        captioned, failed: videos whose rows were made.
        running: requests in the engines at that moment.
        engines: replicas that had started.
        output_tokens: tokens written by the engines.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: float
    decoded: int
    captioned: int
    failed: int
    running: int
    engines: int
    output_tokens: int


class Timeline:
    """Keeps and writes the points of a run.

    A run that goes on under its id goes on with its points, and its totals with what they
    had reached: totals never fall, so that thinning loses no part of them.

    Args:
        store: the output.
        run_id: which run.
        clock: seconds since 1970.
    """

    def __init__(
        self, store: TableStore, run_id: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._path = f"{run_folder(run_id)}/timeline.jsonl"
        self._clock = clock
        self._points = read_timeline(store, run_id)
        self._before = self._points[-1] if self._points else None
        self._latest: Point | None = None
        self._spacing = _SPACING_SEC
        self._saved_at = clock()

    def record(self, counts: Counts, snapshot: Snapshot) -> None:
        """Take note of the totals of this run since it was started.

        To be called as often as one likes; writes to the store about once a minute.
        """
        now = self._clock()
        totals = {
            "decoded": snapshot.received,
            "captioned": counts.videos_captioned,
            "failed": counts.videos_failed,
            "output_tokens": counts.output_tokens,
        }
        if self._before is not None:
            totals = {name: value + getattr(self._before, name) for name, value in totals.items()}
        self._latest = Point(
            at=round(now, 3), running=snapshot.running, engines=len(snapshot.engines), **totals
        )
        if not self._points or now - self._points[-1].at >= self._spacing:
            self._points.append(self._latest)
            if len(self._points) > MAX_POINTS:
                self._points = self._points[::2]
                self._spacing *= 2
        if now - self._saved_at >= _SAVE_SEC:
            self._save()

    def close(self) -> None:
        """Write what there is, with the last totals."""
        if self._latest is None:
            return
        if self._points[-1].at < self._latest.at:
            self._points.append(self._latest)
        self._save()

    def _save(self) -> None:
        self._saved_at = self._clock()
        lines = "".join(f"{point.model_dump_json()}\n" for point in self._points)
        try:
            self._store.write_bytes(self._path, lines.encode())
        except (RayjobError, OSError) as error:
            # A picture of the run is not worth the run: its rows meet the same storage next,
            # and they do insist.
            logger.warning("the timeline of the run was not written: %s", error)


def read_timeline(store: TableStore, run_id: str) -> list[Point]:
    """The points of a run, oldest first; empty where the timeline is missing or damaged."""
    path = f"{run_folder(run_id)}/timeline.jsonl"
    try:
        lines = store.read_bytes(path).splitlines()
    except FileNotFoundError:
        return []
    try:
        return [Point.model_validate_json(line) for line in lines if line.strip()]
    except ValidationError as error:
        logger.warning("%s is damaged and left out: %s", store.url_of(path), error)
        return []
