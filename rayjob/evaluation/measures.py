"""From scores to figures: means with bootstrap intervals, and paired comparisons.

Videos are resampled, never single scores: the scores of one video hang together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from rayjob.evaluation.scores import Score

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
_CELLS = 4_000_000
"""Weights made at once: resamples times videos, 32 MB of them."""
_MOST_UNITS = 4000
"""More videos than this are put into so many groups at random, and groups are resampled:
intervals stay the same, and a million captions take seconds."""


class Figure(BaseModel):
    """One figure of an evaluation.

    Attributes:
        value: None where nothing is scored.
        low, high: ends of the 95 % interval; None with fewer than two videos, and for
            counts that a resample cannot estimate.
        n: scores behind it; of a mean of several dimensions, of the one with the fewest.
        unscored: scores that are missing in it.
        method: how the scores were found; several joined by " + ".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    unscored: int = 0
    unit: str = ""
    method: str = ""


class Difference(BaseModel):
    """One figure of run A and of run B over the same videos.

    Attributes:
        difference: B minus A; low, high: its 95 % interval from the paired bootstrap.
        p: two-sided, by the bootstrap; real: more than noise at 5 % over all figures of the
            comparison together (Holm's correction).
        n: pairs of scores; of a mean of several dimensions, of the one with the fewest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    a: float | None
    b: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    real: bool = False
    n: int
    unit: str = ""
    verdict: str = ""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How scores become one figure: the mean over dimensions of each dimension's mean.

    Attributes:
        dimensions: which scores; each dimension weighs the same.
        factor: what a mean is multiplied with.
        takes: which scores of those dimensions count.
    """

    name: str
    dimensions: tuple[str, ...]
    factor: float = 1.0
    unit: str = ""
    takes: Callable[[Score], bool] = field(default=lambda _: True)


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How intervals are found. The same seed gives the same intervals."""

    resamples: int
    seed: int

    def groups(self, videos: int) -> npt.NDArray[np.int64] | None:
        """The group of each video, shape (videos,); None where each stands for itself."""
        if videos <= _MOST_UNITS:
            return None
        order: npt.NDArray[np.int64] = np.arange(videos) % _MOST_UNITS
        np.random.default_rng(self.seed).shuffle(order)
        return order

    def weights(self, videos: int) -> Iterator[Floats]:
        """How often each video stands in each resample, shape (some, videos), in chunks."""
        rng = np.random.default_rng(self.seed)
        left = self.resamples
        while left:
            rows = min(left, max(1, _CELLS // max(videos, 1)))
            drawn = rng.integers(videos, size=(rows, videos))
            drawn += np.arange(rows)[:, None] * videos
            counts = np.bincount(drawn.ravel(), minlength=rows * videos)
            yield counts.reshape(rows, videos).astype(np.float64)
            left -= rows


@dataclass(frozen=True)
class _Sums:
    """Per video and dimension: the sum of the scores and how many they are.

    Attributes:
        sums, counts: shape (videos, dimensions).
    """

    sums: Floats
    counts: Floats

    def mean(self, weights: Floats) -> Floats:
        """The measure in each resample, shape (some,); NaN where a dimension is empty."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (weights @ self.sums) / (weights @ self.counts)
        return np.asarray(means.mean(axis=1), dtype=np.float64)

    def drawn(self, bootstrap: Bootstrap) -> Floats:
        """The measure in every resample, shape (resamples,)."""
        groups = bootstrap.groups(len(self.sums))
        units = self
        if groups is not None:
            units = _Sums(_grouped(self.sums, groups), _grouped(self.counts, groups))
        chunks = bootstrap.weights(len(units.sums))
        return np.concatenate([units.mean(weights) for weights in chunks])

    def all(self) -> float:
        """The measure over all videos."""
        return float(self.mean(np.ones((1, len(self.sums))))[0])


def figure(measure: Measure, scores: Iterable[Score], bootstrap: Bootstrap) -> Figure:
    """The measure over all scored scores, with its interval."""
    taken = _taken(measure, scores)
    there = tuple(name for name in measure.dimensions if any(s.dimension == name for s in taken))
    ids = sorted({score.video_id for score in taken if score.score is not None})
    sums = _sums(taken, there, ids)
    counts = sums.counts.sum(axis=0)
    n = int(counts.min()) if counts.size else 0
    value: float | None = None
    low: float | None = None
    high: float | None = None
    if n:
        value = sums.all() * measure.factor
        low, high = (
            _interval(
                np.concatenate([sums.mean(weights) for weights in bootstrap.weights(len(ids))])
                * measure.factor
            )
            if len(ids) > 1
            else (None, None)
        )
    return Figure(
        name=measure.name,
        value=value,
        low=low,
        high=high,
        n=n,
        unscored=sum(score.score is None for score in taken),
        unit=measure.unit,
        method=" + ".join(sorted({score.method for score in taken})),
    )


def median_figure(name: str, values: Sequence[float], bootstrap: Bootstrap, *, unit: str) -> Figure:
    """The median of one value per caption."""
    data = np.sort(np.asarray(values, dtype=np.float64))
    low, high = None, None
    if len(data) > 1:
        # Which value is a resample's median follows a beta distribution over the ranks, so
        # the resamples need not be made.
        middle = (len(data) + 1) / 2
        rng = np.random.default_rng(bootstrap.seed)
        ranks = rng.beta(middle, middle, size=bootstrap.resamples) * len(data)
        low, high = _interval(data[ranks.astype(np.int64)])
    value = float(np.median(data)) if len(data) else None
    return Figure(
        name=name, value=value, low=low, high=high, n=len(data), unit=unit, method="formula"
    )


def compare(
    measures: Sequence[Measure], a: Sequence[Score], b: Sequence[Score], bootstrap: Bootstrap
) -> list[Difference]:
    """Each measure's difference over the videos that both runs have, judged together."""
    return _judged([_difference(measure, a, b, bootstrap) for measure in measures])


def _difference(
    measure: Measure, a: Sequence[Score], b: Sequence[Score], bootstrap: Bootstrap
) -> Difference:
    taken = _taken(measure, a), _taken(measure, b)
    there = tuple(
        name
        for name in measure.dimensions
        if all(any(score.dimension == name for score in side) for side in taken)
    )
    ids = sorted({score.video_id for score in taken[0]} & {score.video_id for score in taken[1]})
    before, after = (_sums(side, there, ids) for side in taken)
    # A video counts in a dimension only where both runs have a score there.
    both = (before.counts > 0) & (after.counts > 0)
    used = both.any(axis=1)
    before, after = (
        _Sums((side.sums * both)[used], (side.counts * both)[used]) for side in (before, after)
    )
    pairs = both.sum(axis=0)
    n = int(pairs.min()) if pairs.size else 0
    if n == 0:
        return Difference(
            name=measure.name, a=None, b=None, difference=None, n=0, unit=measure.unit
        )
    first, second = before.all() * measure.factor, after.all() * measure.factor
    low: float | None = None
    high: float | None = None
    p: float | None = None
    if used.sum() > 1:
        # The same seed draws the same videos for both.
        drawn = measure.factor * (after.drawn(bootstrap) - before.drawn(bootstrap))
        low, high = _interval(drawn)
        p = _two_sided(drawn)
    return Difference(
        name=measure.name,
        a=first,
        b=second,
        difference=second - first,
        low=low,
        high=high,
        p=p,
        n=n,
        unit=measure.unit,
    )


_EPSILON = 1e-12
"""Rounding of sums: a difference below it is none."""


def _two_sided(drawn: Floats) -> float:
    """How often resamples fall on the other side of zero, doubled; never below 1 / resamples."""
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return 1.0
    below = (1 + np.count_nonzero(drawn <= _EPSILON)) / (1 + drawn.size)
    above = (1 + np.count_nonzero(drawn >= -_EPSILON)) / (1 + drawn.size)
    return float(min(1.0, 2 * min(below, above)))


def _judged(differences: list[Difference]) -> list[Difference]:
    """Say of each whether it is more than noise, by Holm's procedure.

    A figure in which no video differs can pass no test, so it makes none of the others
    stricter.
    """
    tested = sorted(
        (each.p, index)
        for index, each in enumerate(differences)
        if each.p is not None and (each.low, each.high) != (0.0, 0.0)
    )
    real: set[int] = set()
    for rank, (p, index) in enumerate(tested):
        if p > (1 - CONFIDENCE) / (len(tested) - rank):
            break
        real.add(index)
    return [
        each.model_copy(
            update={
                "real": index in real,
                "verdict": _verdict(each, index in real, tested=len(tested)),
            }
        )
        for index, each in enumerate(differences)
    ]


def _verdict(each: Difference, real: bool, *, tested: int) -> str:
    if each.difference is None:
        return "no pairs"
    if each.p is None:
        return "too few"
    if real:
        return "B lower" if each.difference < 0 else "B higher"
    if abs(each.difference) < _EPSILON:
        return "same"
    # Looked at alone it would pass.
    return f"unclear: 1 of {tested}" if each.p < 1 - CONFIDENCE else "noise"


def _taken(measure: Measure, scores: Iterable[Score]) -> list[Score]:
    names = frozenset(measure.dimensions)
    return [score for score in scores if score.dimension in names and measure.takes(score)]


def _sums(scores: Iterable[Score], dimensions: Sequence[str], ids: Sequence[str]) -> _Sums:
    rows = {video_id: row for row, video_id in enumerate(ids)}
    columns = {name: column for column, name in enumerate(dimensions)}
    sums = np.zeros((len(ids), len(dimensions)))
    counts = np.zeros_like(sums)
    for score in scores:
        row, column = rows.get(score.video_id), columns.get(score.dimension)
        if score.score is not None and row is not None and column is not None:
            sums[row, column] += score.score
            counts[row, column] += 1
    return _Sums(sums, counts)


def _grouped(data: Floats, groups: npt.NDArray[np.int64]) -> Floats:
    total = np.zeros((_MOST_UNITS, data.shape[1]))
    np.add.at(total, groups, data)
    return total


def _interval(drawn: Floats) -> tuple[float | None, float | None]:
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return (None, None) if math.isnan(low) else (float(low), float(high))
