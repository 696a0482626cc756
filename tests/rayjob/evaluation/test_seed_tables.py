"""The published tables, from score files that give them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from rayjob.evaluation.inputs import Item
from rayjob.evaluation.measures import Bootstrap, Measure, figure, figures_of
from rayjob.evaluation.scores import SCORES, Score, ScoreStore
from rayjob.evaluation.suites.long import QUALITY, QUALITY_DIMENSIONS, LongSuite
from rayjob.evaluation.suites.ugc import DIMENSIONS, UgcSuite
from rayjob.output.store import TableStore
from rayjob.recipes.rewards import length_score
from tests.support.evaluations import scores

FEW = Bootstrap(resamples=200, seed=0)


def grades(mean: float, count: int) -> list[int]:
    """Whole numbers with the mean nearest to ``mean``."""
    total = round(mean * count)
    return [total // count + (index < total % count) for index in range(count)]


def through_a_file(folder: Path, suite: str, rows: list[Score]) -> list[Score]:
    ScoreStore(TableStore(folder), suite=suite, run_id="seed").finish(rows)
    return [Score(**{name: row[name] for name in SCORES.names}) for row in scores(folder)]


def table(measures: Sequence[Measure], rows: list[Score], digits: int) -> dict[str, float]:
    found = figures_of(measures, rows, FEW)
    return {each.name: round(each.value, digits) for each in found if each.value is not None}


@pytest.mark.parametrize(
    ("model", "means", "scored", "published"),
    [
        # Means of 1 to 5 whose percentages round to the published ones; the last table is met
        # by no thousand of whole numbers, but with some of them unscored.
        ("Gemini-2.5-flash", (3.940, 3.710, 3.860), 1000, (78.8, 74.2, 77.2, 76.73)),
        ("UGC-VideoCaptioner-3B", (2.971, 3.120, 2.910), 1000, (59.4, 62.4, 58.2, 60.01)),
        ("Qwen2.5-Omni-3B", (2.78222, 2.41222, 2.63222), 900, (55.6, 48.2, 52.6, 52.18)),
    ],
)
def test_ugc(
    tmp_path: Path,
    model: str,
    means: tuple[float, ...],
    scored: int,
    published: tuple[float, ...],
) -> None:
    rows = [
        Score(
            video_id=f"v{index}",
            model=model,
            dimension=name,
            score=value,
            reason=None if value is not None else "HTTP 500, 5 times",
        )
        for name, mean in zip(DIMENSIONS, means, strict=True)
        for index, value in enumerate([*grades(mean, scored), *[None] * (1000 - scored)])
    ]
    kept = through_a_file(tmp_path, "ugc", rows)
    found = {each.name: each for each in figures_of(UgcSuite((), {}, ()).measures, kept, FEW)}
    values = [found[name].value for name in (*DIMENSIONS, "average")]
    assert [round(value or 0, 1) for value in values[:3]] == list(published[:3])
    assert round(values[3] or 0, 2) == published[3]
    assert found["average"].n == scored
    assert found["average"].unscored == 3 * (1000 - scored)
    assert (found["average"].low or 0) < published[3] < (found["average"].high or 0)


@pytest.mark.parametrize(
    ("written", "score"),
    [
        (0, 0.0),
        (400, 0.0),  # a third
        (600, 50.0),  # a half
        (1200, 100.0),
        (2400, 66.67),
        (4800, 0.0),
        (6000, 0.0),
        (900, 83.33),  # 100 * (1 - (4/3 - 1) / 2)
        (3000, 50.0),  # 100 * (1 - (2.5 - 1) / 3)
    ],
)
def test_length_score(written: int, score: float) -> None:
    assert round(length_score(1200, written), 2) == score


BUCKETS = {"[300s, 600s)": 9, "[600s, 900s)": 58, "[900s, 1200s)": 129, "[1200s, 1800s]": 85}
"""Videos of LongCaption-Bench by their length."""


@pytest.mark.parametrize(
    ("model", "overall", "buckets"),
    [
        (
            "LongCaptioning-8B",
            (40.9, 81.2, 2.59),
            [(88.2, 80.7, 2.56), (53.6, 81.7, 2.53), (38.8, 81.6, 2.62), (30.3, 80.4, 2.58)],
        ),
        (
            "MiniCPM-V-2.6",
            # Published is a quality of 73.5, which is not the mean of its own buckets.
            (11.8, 73.4, 2.18),
            [(27.6, 72.6, 2.11), (12.8, 74.9, 2.02), (10.4, 73.1, 2.24), (11.5, 73.0, 2.20)],
        ),
    ],
)
def test_long(
    tmp_path: Path,
    model: str,
    overall: tuple[float, float, float],
    buckets: list[tuple[float, float, float]],
) -> None:
    rows = []
    for (name, count), (length, quality, relevance) in zip(BUCKETS.items(), buckets, strict=True):
        start, end = (float(edge.strip("[])s ")) for edge in name.split(","))
        judged = grades(quality / 20, 6 * count), grades(relevance, count)
        for index in range(count):
            # On the edges: a bucket's first video, and the very last one.
            seconds = start + (end - start) * index / (count - name.endswith("]"))
            given = {"length": length, "relevance": float(judged[1][index])}
            given |= {
                f"quality {each}": float(judged[0][index * 6 + at])
                for at, each in enumerate(QUALITY_DIMENSIONS)
            }
            rows += [
                Score(
                    video_id=f"{name}{index}",
                    model=model,
                    duration_sec=seconds,
                    dimension=dimension,
                    score=value,
                )
                for dimension, value in given.items()
            ]
    kept = through_a_file(tmp_path, "long", rows)
    suite = LongSuite((), {}, edges=(300, 600, 900, 1200, 1800), judged=True)
    found = table(suite.measures, kept, 4)
    names = ("length", "quality", "relevance")
    digits = dict(zip(names, (1, 1, 2), strict=True))
    for bucket, expected in zip(["", *(f" {name}" for name in BUCKETS)], [overall, *buckets],
                                strict=True):  # fmt: skip
        values = tuple(round(found[f"{name}{bucket}"], digits[name]) for name in names)
        assert values == expected, bucket
    assert not [name for name in found if "under" in name or "over" in name]


def test_an_unscored_score_is_not_zero(tmp_path: Path) -> None:
    rows = [
        Score(video_id="a", dimension="visual", score=4.0),
        Score(video_id="b", dimension="visual", score=None, reason="timeout"),
    ]
    kept = through_a_file(tmp_path, "ugc", rows)
    measure = Measure(name="visual", dimensions=("visual",), factor=20)
    found = figure(measure, kept, FEW)
    assert (found.value, found.n, found.unscored) == (80.0, 1, 1)
    nothing = figure(measure, [row for row in kept if row.score is None], FEW)
    assert nothing.value is None and nothing.low is None
    assert not math.isnan(found.value or 0)


def test_quality_is_judged_after_an_analysis() -> None:
    """In this order also under guided decoding, and the analysis is no score."""
    assert list(QUALITY.schema()["properties"]) == ["analysis", *QUALITY_DIMENSIONS]
    item = Item(video_id="a", text="A dog runs.", duration_sec=1800.0)
    reference = Item(video_id="a", text="A dog runs and barks.")
    quality, relevance = LongSuite(
        [item], {"a": reference}, edges=(300, 1800), judged=True
    ).questions
    assert set(quality.dimensions) == set(QUALITY_DIMENSIONS)
    assert "from 1 (" in relevance.prompt
    assert relevance.rubric.read('{"relevance": 0}')["relevance"].value is None
    *_, relevance = LongSuite(
        [item], {"a": reference}, edges=(300, 1800), judged=True, relevance_from_0=True
    ).questions
    assert "from 0 (" in relevance.prompt
    assert relevance.rubric.read('{"relevance": 0}')["relevance"].value == 0.0
