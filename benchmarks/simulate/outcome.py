"""What a simulated run did."""

from __future__ import annotations

from dataclasses import dataclass

_DOWNSTREAM = "driver", "executors", "monitor", "engines", "prepare", "decoders", "s3", "readers"
"""Parts of a run, the last one first. What stands before a full one is as busy until all there is
between them is full too."""

_FULL = 0.95


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run did.

    Attributes:
        wall_sec: until the last result.
        busy_sec: from the first engine's start to the last result.
        videos_per_sec: in the steady part.
        used: share of its time, or of its full rate, that each part worked in the steady part.
        engine_busy_fraction: share of the time in which an engine had a request, steady part.
        peak_store_bytes: decoded, and not yet captioned, at most.
        redone: videos whose work was lost with a node.
    """

    videos: int
    wall_sec: float
    busy_sec: float
    videos_per_sec: float
    used: dict[str, float]
    engine_busy_fraction: float
    peak_store_bytes: float
    redone: int
    losses: int

    @property
    def bottleneck(self) -> str:
        most = max(self.used.values())
        return next(name for name in _DOWNSTREAM if self.used.get(name, 0.0) >= _FULL * most)
