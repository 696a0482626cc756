"""What vLLM's scheduler says of its queue, kept in an engine's counters."""

from __future__ import annotations

from typing import Any

from actors.engine.stats import EngineStats


class SchedulerWatch:
    """A ``vllm.v1.metrics.loggers.StatLoggerBase``: told after each step of the engine.

    Attributes:
        stats: where it is kept; None before the engine has started.
    """

    stats: EngineStats | None = None

    def made(self, _vllm_config: Any, _engine_index: int = 0) -> SchedulerWatch:
        """As vLLM makes its loggers."""
        return self

    def record(self, scheduler_stats: Any, *_: Any, **__: Any) -> None:
        """Keep how many requests wait, and how full the cache is."""
        if scheduler_stats is not None and self.stats is not None:
            waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
            self.stats.queued = waiting
            self.stats.kv_use = scheduler_stats.kv_cache_usage

    def log(self) -> None:
        """Nothing is written."""

    def log_engine_initialized(self) -> None:
        """Nothing is written."""

    def record_sleep_state(self, *_: Any) -> None:
        """Engines of a job do not sleep."""
