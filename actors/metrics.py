"""The job's own Prometheus series, through Ray's metrics agent on each node.

Ray exports them as ``ray_rayjob_...``, counters with ``_total`` at the end, about ten
seconds after they were counted. See docs/metrics.md for what they answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from ray.util.metrics import Counter, Gauge

from actors.engine.stats import EngineStats
from actors.tuning import Load, Rule
from schemas.blocks import video_of
from schemas.tables import CaptionRow, FailureRow


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
        _add(self._seconds, seconds)
        if not isinstance(outcome, FailureRow):
            _add(self._bytes, video_of(outcome).info.bytes_read)


class CaptionMetrics:
    """What one engine's actor counts.

    Args:
        recipe: name of the recipe, a tag of every series.
        capacity: requests that the engine batches at most.
    """

    def __init__(self, *, recipe: str, capacity: int) -> None:
        def counter(name: str, meaning: str, *tags: str) -> Counter:
            made = Counter(name, meaning, ("recipe", *tags))
            made.set_default_tags({"recipe": recipe})
            return made

        def gauge(name: str, meaning: str) -> Gauge:
            made = Gauge(name, meaning, ("recipe",))
            made.set_default_tags({"recipe": recipe})
            return made

        self._videos = counter("rayjob_videos", "Videos finished", "outcome")
        self._captions = counter("rayjob_captions", "Caption rows", "status")
        self._failures = counter("rayjob_failures", "Failure rows", "stage", "error")
        self._prompt_tokens = counter("rayjob_prompt_tokens", "Tokens read")
        self._output_tokens = counter("rayjob_output_tokens", "Tokens written")
        self._video_seconds = counter("rayjob_video_seconds", "Length of the captioned videos")
        self._busy = counter("rayjob_engine_busy_seconds", "Time with a request in the engine")
        self._running = gauge("rayjob_engine_running", "Requests in the engine")
        self._waiting = gauge("rayjob_engine_waiting", "Requests that wait for their preparation")
        self._capacity = gauge("rayjob_engine_capacity", "Requests that a batch holds")
        self._queued = gauge("rayjob_engine_queued", "Requests that wait for a place in the batch")
        self._kv_use = gauge("rayjob_engine_kv_use", "Share of the KV cache in use")
        self._in_flight = gauge("rayjob_videos_in_flight", "Videos that the engine works on")
        self._outside = gauge("rayjob_videos_outside", "Videos at hand that wait for their turn")
        self._places = gauge("rayjob_videos_in_flight_limit", "Videos in flight at most")
        self._rules = counter("rayjob_in_flight_decisions", "Decisions on that limit", "rule")
        self._slots = capacity
        self._counted_busy = 0.0

    def finished(self, captions: Sequence[CaptionRow], failures: Sequence[FailureRow]) -> None:
        """Count one video with all its rows."""
        self._videos.inc(tags={"outcome": "captioned" if captions else "failed"})
        for row in captions:
            self._captions.inc(tags={"status": row.caption_status})
        for failure in failures:
            self._failures.inc(tags={"stage": failure.stage, "error": failure.error})
        _add(self._prompt_tokens, sum(row.prompt_tokens or 0 for row in captions))
        _add(self._output_tokens, sum(row.output_tokens or 0 for row in captions))
        _add(self._video_seconds, max((row.duration_sec or 0.0 for row in captions), default=0.0))

    def in_flight(self, load: Load, *, places: int, rule: Rule) -> None:
        """Count a decision on the videos in flight, and what it was made of."""
        self._queued.set(load.queued)
        self._kv_use.set(load.kv_use)
        self._in_flight.set(load.videos)
        self._outside.set(load.outside)
        self._places.set(places)
        self._rules.inc(tags={"rule": rule.value})

    def engine(self, stats: EngineStats) -> None:
        """Bring the engine's series up to date."""
        self._running.set(stats.running)
        self._waiting.set(stats.waiting)
        self._capacity.set(self._slots)
        _add(self._busy, stats.busy_sec - self._counted_busy)
        self._counted_busy = stats.busy_sec


def _add(counter: Counter, value: float) -> None:
    if value > 0:  # Ray refuses to add nothing
        counter.inc(value)
