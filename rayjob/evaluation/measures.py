"""From scores to figures: means with bootstrap intervals, and paired comparisons.

Videos are resampled, never single scores: the scores of one video hang together.
"""

from __future__ import annotations

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


class Result(BaseModel):
    """What an evaluation finds, as it is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(Result):
    """One figure of an evaluation.

    Attributes:
        value: None where nothing is scored.
        low, high: ends of the 95 % interval; None with fewer than two videos, and for
            counts that a resample cannot estimate.
        n: scores behind it; of a mean of several dimensions, of the one with the fewest.
        unscored: scores that are missing in it.
        method: how the scores were found; several joined by " + ".
    """

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

    model_config = ConfigDict(extra="forbid")

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

    def groups(self, videos: int) -> npt.NDArray[np.int64]:
        """The group of each video, shape (videos,); up to _MOST_UNITS each stands for itself."""
        order: npt.NDArray[np.int64] = np.arange(videos) % _MOST_UNITS
        if videos > _MOST_UNITS:
            np.random.default_rng(self.seed).shuffle(order)
        return order

    def weights(self, units: int) -> Iterator[Floats]:
        """How often each unit stands in each resample, shape (some, units), in chunks."""
        rng = np.random.default_rng(self.seed)
        left = self.resamples
        while left:
            rows = min(left, max(1, _CELLS // max(units, 1)))
            drawn = rng.integers(units, size=(rows, units))
            drawn += np.arange(rows)[:, None] * units
            counts = np.bincount(drawn.ravel(), minlength=rows * units)
            yield counts.reshape(rows, units).astype(np.float64)
            left -= rows


@dataclass(frozen=True)
class _Sums:
    """Per video and dimension: the sum of the scores and how many they are.

    Attributes:
        sums, counts: shape (videos, dimensions).
    """

    sums: Floats
    counts: Floats

    @classmethod
    def of(cls, scores: Iterable[Score], dimensions: Sequence[str], ids: Sequence[str]) -> _Sums:
        """Sum up the scored scores of those dimensions and videos."""
        rows = {video_id: row for row, video_id in enumerate(ids)}
        columns = {name: column for column, name in enumerate(dimensions)}
        sums = np.zeros((len(ids), len(dimensions)))
        counts = np.zeros_like(sums)
        for score in scores:
            row, column = rows.get(score.video_id), columns.get(score.dimension)
            if score.score is not None and row is not None and column is not None:
                sums[row, column] += score.score
                counts[row, column] += 1
        return cls(sums, counts)

    @property
    def fewest(self) -> int:
        """Scores of the dimension that has the fewest."""
        return int(self.counts.sum(axis=0).min()) if self.counts.size else 0

    def mean(self, weights: Floats) -> Floats:
        """The measure in each resample, shape (some,); NaN where a dimension is empty."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (weights @ self.sums) / (weights @ self.counts)
        return np.asarray(means.mean(axis=1), dtype=np.float64)

    def drawn(self, bootstrap: Bootstrap) -> Floats:
        """The measure in every resample, shape (resamples,)."""
        groups = bootstrap.groups(len(self.sums))
        units = _Sums(_grouped(self.sums, groups), _grouped(self.counts, groups))
        chunks = bootstrap.weights(len(units.sums))
        return np.concatenate([units.mean(weights) for weights in chunks])

    def all(self) -> float:
        """The measure over all videos."""
        return float(self.mean(np.ones((1, len(self.sums))))[0])


def figures_of(
    measures: Iterable[Measure], scores: Sequence[Score], bootstrap: Bootstrap
) -> list[Figure]:
    """The figure of each measure that takes any of the scores."""
    return [figure(each, scores, bootstrap) for each in _with_scores(measures, scores)]


def _with_scores(measures: Iterable[Measure], scores: Sequence[Score]) -> list[Measure]:
    return [
        each
        for each in measures
        if any(score.dimension in each.dimensions and each.takes(score) for score in scores)
    ]


def figure(measure: Measure, scores: Iterable[Score], bootstrap: Bootstrap) -> Figure:
    """The measure over all scored scores, with its interval."""
    taken = _taken(measure, scores)
    there = _there(measure, taken)
    ids = sorted({score.video_id for score in taken if score.score is not None})
    sums = _Sums.of(taken, there, ids)
    value, low, high = None, None, None
    if sums.fewest:
        value = sums.all() * measure.factor
        if len(ids) > 1:
            low, high = _interval(sums.drawn(bootstrap) * measure.factor)
    return Figure(
        name=measure.name,
        value=value,
        low=low,
        high=high,
        n=sums.fewest,
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
    """The difference of each measure of A over the videos that both runs have, judged together."""
    return _judged([_difference(each, a, b, bootstrap) for each in _with_scores(measures, a)])


def _difference(
    measure: Measure, a: Sequence[Score], b: Sequence[Score], bootstrap: Bootstrap
) -> Difference:
    taken = _taken(measure, a), _taken(measure, b)
    there = [name for name in _there(measure, taken[0]) if name in _there(measure, taken[1])]
    ids = sorted({score.video_id for score in taken[0]} & {score.video_id for score in taken[1]})
    before, after = (_Sums.of(side, there, ids) for side in taken)
    # A video counts in a dimension only where both runs have a score there.
    both = (before.counts > 0) & (after.counts > 0)
    used = both.any(axis=1)
    before, after = (
        _Sums((side.sums * both)[used], (side.counts * both)[used]) for side in (before, after)
    )
    n = int(both.sum(axis=0).min()) if both.size else 0
    first, second, change, low, high, p = (None,) * 6
    if n:
        first, second = before.all() * measure.factor, after.all() * measure.factor
        change = second - first
    if n and used.sum() > 1:
        # The same seed draws the same videos for both.
        drawn = measure.factor * (after.drawn(bootstrap) - before.drawn(bootstrap))
        low, high = _interval(drawn)
        p = _two_sided(drawn)
    return Difference(
        name=measure.name,
        a=first,
        b=second,
        difference=change,
        low=low,
        high=high,
        p=p,
        n=n,
        unit=measure.unit,
    )


_EPSILON = 1e-12
"""Rounding of sums: a smaller difference counts as zero."""


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

    A figure in which no video differs cannot pass any test, so it does not make the test of
    the others stricter.
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
    for index, each in enumerate(differences):
        each.real = index in real
        each.verdict = _verdict(each, tested=len(tested))
    return differences


def _verdict(each: Difference, *, tested: int) -> str:
    if each.difference is None:
        return "no pairs"
    if each.p is None:
        return "too few"
    if each.real:
        return "B lower" if each.difference < 0 else "B higher"
    if abs(each.difference) < _EPSILON:
        return "same"
    # Looked at alone it would pass.
    return f"unclear: 1 of {tested}" if each.p < 1 - CONFIDENCE else "noise"


def _taken(measure: Measure, scores: Iterable[Score]) -> list[Score]:
    names = frozenset(measure.dimensions)
    return [score for score in scores if score.dimension in names and measure.takes(score)]


def _there(measure: Measure, scores: Iterable[Score]) -> list[str]:
    """The measure's dimensions that have scores."""
    found = {score.dimension for score in scores}
    return [name for name in measure.dimensions if name in found]


def _grouped(data: Floats, groups: npt.NDArray[np.int64]) -> Floats:
    total = np.zeros((min(len(data), _MOST_UNITS), data.shape[1]))
    np.add.at(total, groups, data)
    return total


def _interval(drawn: Floats) -> tuple[float | None, float | None]:
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
