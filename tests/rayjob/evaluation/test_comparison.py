"""Two runs on the same videos: a planted drop is found, and noise is not taken for one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rayjob.evaluation.measures import (
    Bootstrap,
    Floats,
    Measure,
    compare,
    figure,
    median_figure,
)
from rayjob.evaluation.scores import Score
from rayjob.output.store import TableStore
from tests.rayjob.evaluation.test_inputs import write_run
from tests.rayjob.evaluation.test_structured import our_labels, spoil, truths
from tests.support.evaluations import evaluate
from tests.support.outputs import caption
from tinyworld.world import sample_scenes

BOOTSTRAP = Bootstrap(resamples=1000, seed=3)
FIELDS = ("shot_type", "lighting", "action")


def structured_run(output: Path, run_id: str, *, error_rate: float, seed: int) -> None:
    """A run of captions as the job writes them, with errors in some of the fields."""
    rng = random.Random(seed)
    rows = []
    for at, answer in enumerate(truths()):
        for name in FIELDS:
            if rng.random() < error_rate:
                spoil(answer, name)
        text = json.dumps(answer)
        rows.append(caption(f"v{at:02d}", caption=text, structured=text))
    write_run(TableStore(output), "structured", run_id, rows)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs good, same (equally good by chance), bad; over the clips of the labels."""
    folder = tmp_path_factory.mktemp("out")
    structured_run(folder, "good", error_rate=0.1, seed=1)
    structured_run(folder, "same", error_rate=0.1, seed=2)
    structured_run(folder, "bad", error_rate=0.5, seed=3)
    return folder


def compared(output: Path, tmp_path: Path, a: str, b: str) -> dict[str, Any]:
    done = evaluate(
        "--suite", "structured", "--input", output, "--compare", a, b,
        "--labels", our_labels(tmp_path / "labels.jsonl"), "--scores", tmp_path / "scores",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.result["verdict"] in " ".join(done.stderr.split())
    return done.result


def test_a_planted_drop_is_found(output: Path, tmp_path: Path) -> None:
    assert len(sample_scenes(50, seed=5)) == 50
    result = compared(output, tmp_path, "good", "bad")
    found = {each["name"] for each in result["differences"] if each["real"]}
    assert found == {*FIELDS, "average"}
    assert "average fell by" in result["verdict"]
    average = result["differences"][-1]
    assert average["high"] < 0 and average["n"] == 50
    there = tmp_path / "scores/scores/_evaluations/suite=structured/run_id=bad"
    assert {path.name for path in there.iterdir()} == {
        "evaluation.json", "comparison-with-good.json",
    }  # fmt: skip
    # The other way round it is a gain.
    assert "average rose by" in compared(output, tmp_path, "bad", "good")["verdict"]


@pytest.mark.parametrize("other", ["good", "same"])
def test_noise_is_no_difference(output: Path, tmp_path: Path, other: str) -> None:
    result = compared(output, tmp_path, "good", other)
    assert not [each for each in result["differences"] if each["real"]]
    assert result["verdict"].startswith("No difference between")
    if other == "good":
        assert {each["difference"] for each in result["differences"]} == {0.0}
        assert {each["verdict"] for each in result["differences"]} == {"same"}


def rows(values: dict[str, list[float | None]], dimension: str = "d") -> list[Score]:
    return [
        Score(video_id=video, item=str(at), dimension=dimension, score=value)
        for video, scores in values.items()
        for at, value in enumerate(scores)
    ]


def test_only_pairs_are_compared() -> None:
    a = rows({"v1": [1], "v2": [2], "v3": [None], "only-a": [100]})
    b = rows({"v1": [2], "v2": [4], "v3": [50], "only-b": [100]})
    (found,) = compare([Measure(name="d", dimensions=("d",))], a, b, BOOTSTRAP)
    assert (found.a, found.b, found.difference, found.n) == (1.5, 3.0, 1.5, 2)


def test_equally_good_sets_rarely_differ() -> None:
    """Of a hundred comparisons of nothing, about five in a hundred would pass at 5 %."""
    rng = np.random.default_rng(11)
    measure = Measure(name="d", dimensions=("d",))
    wrong = 0
    for _ in range(100):
        a, b = (
            rows({f"v{at}": [float(value)] for at, value in enumerate(rng.random(60) < 0.7)})
            for _ in range(2)
        )
        (found,) = compare([measure], a, b, BOOTSTRAP)
        wrong += found.real
    assert wrong <= 12


def test_many_figures_are_judged_together() -> None:
    """Among thirty figures without a difference, one at 5 % would be found nearly always."""
    rng = np.random.default_rng(12)
    names = [f"d{at}" for at in range(30)]
    measures = [Measure(name=name, dimensions=(name,)) for name in names]
    sides = []
    for _ in range(2):
        side: list[Score] = []
        for name in names:
            values = {f"v{at}": [float(value)] for at, value in enumerate(rng.random(80) < 0.6)}
            side += rows(values, name)
        sides.append(side)
    found = compare(measures, sides[0], sides[1], BOOTSTRAP)
    assert min(each.p or 1 for each in found) < 0.05
    assert not any(each.real for each in found)


def test_intervals_cover_the_truth() -> None:
    """95 % intervals of a mean hold the true mean about 95 times of a hundred."""
    rng = np.random.default_rng(13)
    measure = Measure(name="d", dimensions=("d",))
    covered = 0
    for _ in range(200):
        values = {f"v{at}": [float(value)] for at, value in enumerate(rng.normal(3, 1, size=50))}
        found = figure(measure, rows(values), Bootstrap(resamples=500, seed=0))
        assert found.low is not None and found.high is not None
        covered += found.low <= 3 <= found.high
    assert 180 <= covered <= 199


def test_videos_are_resampled_and_not_scores() -> None:
    """Ten equal scores of a video tell no more than one."""
    rng = np.random.default_rng(14)
    values = {f"v{at}": [float(value)] for at, value in enumerate(rng.normal(size=40))}
    measure = Measure(name="d", dimensions=("d",))
    once = figure(measure, rows(values), BOOTSTRAP)
    tenfold = figure(measure, rows({key: each * 10 for key, each in values.items()}), BOOTSTRAP)
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))
    assert tenfold.n == 10 * once.n


def test_large_sets_are_resampled_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    units = []
    weights = Bootstrap.weights

    def noted(self: Bootstrap, count: int) -> Iterator[Floats]:
        units.append(count)
        return weights(self, count)

    monkeypatch.setattr(Bootstrap, "weights", noted)
    rng = np.random.default_rng(15)
    data = rng.normal(10, 2, size=30_000)
    values = {f"v{at}": [float(value)] for at, value in enumerate(data)}
    found = figure(Measure(name="d", dimensions=("d",)), rows(values), BOOTSTRAP)
    assert units == [4000]
    half = 1.96 * data.std() / np.sqrt(len(data))
    assert found.low == pytest.approx(data.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(data.mean() + half, abs=0.15 * half)


@pytest.mark.parametrize("count", [2, 51, 1000])
def test_medians_are_those_of_real_resamples(count: int) -> None:
    rng = np.random.default_rng(16)
    data = rng.exponential(100, size=count)
    found = median_figure("m", list(data), Bootstrap(resamples=20_000, seed=1), unit="")
    drawn = np.median(rng.choice(data, size=(20_000, count)), axis=1) if count < 1000 else None
    assert found.value == np.median(data)
    if drawn is not None and count > 2:
        low, high = np.quantile(drawn, [0.025, 0.975])
        assert (found.low, found.high) == pytest.approx((low, high), rel=0.05)
    assert (found.low or 0) <= (found.value or 0) <= (found.high or 0)


def test_the_seed_decides() -> None:
    values = {f"v{at}": [float(at % 7)] for at in range(30)}
    measure = Measure(name="d", dimensions=("d",))
    one, two, other = (
        figure(measure, rows(values), Bootstrap(resamples=200, seed=seed)) for seed in (1, 1, 2)
    )
    assert one == two and one != other
