"""When a video's frames are due, and which stretches of it to decode for given moments."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from actors.decoding.reading import Ints
from actors.decoding.sampling import Timeline

Floats = npt.NDArray[np.float64]

MARGIN_PACKETS = 2
"""Packets after a run that the demuxer reads before it is stopped."""

_MOST_REORDERED = 16
"""Frames that may be decoded before one that is shown before them."""

_NO_FLOATS = np.empty(0)
_NO_INTS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A stretch of packets that is decoded from a key frame on, for some moments.

    Attributes:
        first, stop: the packets, by their number in decoding order; ``stop`` is not needed.
        key_time: when the key frame at ``first`` is shown, in seconds from the first frame.
        targets: moments in seconds from the first frame, increasing.
    """

    first: int
    stop: int
    key_time: float
    targets: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a video's frames are due, and where decoding can begin.

    All times are in seconds from the first frame, except ``start``.

    Attributes:
        timeline: the frames' times.
        start: time of the first frame on the container's clock.
        due: when the packets' frames are shown, by their numbers in decoding order, float64,
            shape (P,), NaN for packets without a frame of their own. Empty where the frames
            bear their times themselves.
        turns: the times of all frames in order, float64, shape (F,), where nothing says which
            frame is due when: they take them in turn, from the first on. Empty elsewhere.
        shown_from: for every packet in decoding order, a time before which neither it nor
            any later packet is shown, float64, shape (P,), not decreasing. Empty where
            the frames take turns: then only decoding from the start is safe.
        keys: numbers of the key packets, int64, shape (K,), increasing.
        key_times: when those are shown, float64, shape (K,), increasing.
        positions, sizes: where the packets are in the file, int64, shape (P,). Empty where
            the container has no complete index: then seeking is not worth it, because
            finding the packets out took reading the whole file.
    """

    timeline: Timeline
    start: float
    due: Floats = field(default_factory=lambda: _NO_FLOATS)
    turns: Floats = field(default_factory=lambda: _NO_FLOATS)
    shown_from: Floats = field(default_factory=lambda: _NO_FLOATS)
    keys: Ints = field(default_factory=lambda: _NO_INTS)
    key_times: Floats = field(default_factory=lambda: _NO_FLOATS)
    positions: Ints = field(default_factory=lambda: _NO_INTS)
    sizes: Ints = field(default_factory=lambda: _NO_INTS)

    @property
    def rounding(self) -> float:
        """How far the times of a span's ends are off, in seconds: whoever cuts a video into spans
        writes them in milliseconds. A frame is due at the begin that comes so much later, and not
        in a span that ends so much later.
        """
        return min(0.001, 0.25 / self.timeline.rate)

    def runs(self, targets: Floats | None) -> list[Run]:
        """Return the stretches to decode; none means: everything, from the start.

        A stretch ends where nothing more is shown by its last moment. Stretches that touch
        become one.
        """
        if targets is None or len(self.shown_from) == 0 or len(self.keys) == 0:
            return []
        tolerance = self.timeline.tolerance
        at = np.searchsorted(self.key_times, targets + tolerance, side="right") - 1
        at = np.maximum(at, 0)
        stops = np.searchsorted(self.shown_from, targets + tolerance, side="right")
        runs: list[Run] = []
        for key in np.unique(at):
            mine = np.flatnonzero(at == key)
            first = int(self.keys[key])
            run = Run(
                first=first,
                stop=max(int(stops[mine[-1]]), first + 1),
                key_time=float(self.key_times[key]),
                targets=tuple(targets[mine].tolist()),
            )
            if runs and first <= runs[-1].stop:
                last = runs[-1]
                runs[-1] = replace(
                    last, stop=max(run.stop, last.stop), targets=last.targets + run.targets
                )
            else:
                runs.append(run)
        return runs

    def frames_between(self, one: float, other: float) -> int:
        """How many frames are due between two moments, as far as that is known."""
        if len(self.due) == 0:
            return 0
        return int(np.count_nonzero((self.due > one) & (self.due < other)))

    def holds_frames(self, begin: float, end: float) -> bool:
        """Whether frames are surely due in a span, in seconds from the first frame."""
        times = self.due if len(self.due) else self.shown_from
        # Decoding times come before the moments at which frames are shown, by a few frames.
        room = 0 if len(self.due) else _MOST_REORDERED
        return int(np.count_nonzero((times >= begin) & (times < end))) > room

    def packets_of(self, runs: list[Run]) -> Ints:
        """Return the numbers of the packets that decoding some runs reads, increasing."""
        return np.unique(
            np.concatenate([np.arange(run.first, run.stop + MARGIN_PACKETS) for run in runs]).clip(
                max=len(self.positions) - 1
            )
        )
