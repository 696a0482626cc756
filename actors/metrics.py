"""The job's own Prometheus series, through Ray's metrics agent on each node.

Ray exports them as ``ray_rayjob_...``, counters with ``_total`` at the end, about ten
seconds after they were counted. See docs/metrics.md for what they answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from ray.util.metrics import Counter, Gauge

from actors.engine.stats import EngineStats
from schemas.blocks import video_of
from schemas.tables import CaptionRow, FailureRow

_RECIPE = ("recipe",)


class DecodeMetrics:
    """What one decode actor counts."""

    def __init__(self) -> None:
        self._videos = Counter(
            "rayjob_decoded_videos", "Videos that decoding is through with", ("outcome",)
        )
        self._seconds = Counter("rayjob_decode_seconds", "Wall time that actors spent decoding")
        self._bytes = Counter("rayjob_bytes_read", "Bytes that the storage was asked for")

    def finished(self, outcome: pa.RecordBatch | FailureRow, *, seconds: float) -> None:
        """Count one video, and how long it took."""
        failed = isinstance(outcome, FailureRow)
        self._videos.inc(tags={"outcome": "failed" if failed else "decoded"})
        _add(self._seconds, seconds, {})
        if not isinstance(outcome, FailureRow):
            _add(self._bytes, video_of(outcome).info.bytes_read, {})


class CaptionMetrics:
    """What one engine's actor counts.

    Args:
        recipe: name of the recipe, a tag of every series.
        capacity: requests that the engine batches at most.
    """

    def __init__(self, *, recipe: str, capacity: int) -> None:
        self._videos = Counter("rayjob_videos", "Videos finished", ("recipe", "outcome"))
        self._captions = Counter("rayjob_captions", "Caption rows", ("recipe", "status"))
        self._failures = Counter("rayjob_failures", "Failure rows", ("recipe", "stage", "error"))
        self._prompt_tokens = Counter("rayjob_prompt_tokens", "Tokens read", _RECIPE)
        self._output_tokens = Counter("rayjob_output_tokens", "Tokens written", _RECIPE)
        self._video_seconds = Counter(
            "rayjob_video_seconds", "Length of the captioned videos", _RECIPE
        )
        self._busy = Counter(
            "rayjob_engine_busy_seconds", "Time with a request in the engine", _RECIPE
        )
        self._running = Gauge("rayjob_engine_running", "Requests in the engine", _RECIPE)
        self._waiting = Gauge(
            "rayjob_engine_waiting", "Requests that wait for their preparation", _RECIPE
        )
        self._capacity = Gauge("rayjob_engine_capacity", "Requests that a batch holds", _RECIPE)
        self._tags = {"recipe": recipe}
        self._slots = capacity
        self._counted_busy = 0.0

    def finished(self, captions: Sequence[CaptionRow], failures: Sequence[FailureRow]) -> None:
        """Count one video with all its rows."""
        outcome = "captioned" if captions else "failed"
        self._videos.inc(tags=self._tags | {"outcome": outcome})
        for row in captions:
            self._captions.inc(tags=self._tags | {"status": row.caption_status})
        for failure in failures:
            self._failures.inc(tags=self._tags | {"stage": failure.stage, "error": failure.error})
        _add(self._prompt_tokens, sum(row.prompt_tokens or 0 for row in captions), self._tags)
        _add(self._output_tokens, sum(row.output_tokens or 0 for row in captions), self._tags)
        length = max((row.duration_sec or 0.0 for row in captions), default=0.0)
        _add(self._video_seconds, length, self._tags)

    def engine(self, stats: EngineStats) -> None:
        """Bring the engine's series up to date."""
        self._running.set(stats.running, tags=self._tags)
        self._waiting.set(stats.waiting, tags=self._tags)
        self._capacity.set(self._slots, tags=self._tags)
        _add(self._busy, stats.busy_sec - self._counted_busy, self._tags)
        self._counted_busy = stats.busy_sec


def _add(counter: Counter, value: float, tags: dict[str, str]) -> None:
    if value > 0:  # Ray refuses to add nothing
        counter.inc(value, tags=tags)
