"""An even selection of videos by their length."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rayjob.inputs.lengths import evenly
from rayjob.inputs.manifests import Input
from schemas.errors import SourceError
from schemas.sources import LengthsConfig
from tests.support.inputs import listed

EDGES = (30, 60, 120, 180)


def items(lengths: Iterable[float]) -> list[Input]:
    return [
        Input(f"{number}.mp4", f"s3://videos/{number}.mp4", f'{{"duration_sec": {length}}}')
        for number, length in enumerate(lengths)
    ]


def chosen(inputs: Iterable[Input], count: int, **more: Any) -> list[str]:
    lengths = LengthsConfig(edges_sec=EDGES, count=count, **more)
    return [each.video_id for each in evenly(inputs, lengths)]


def test_as_many_of_each_range() -> None:
    lengths = [index % 240 for index in range(4800)]  # most of them between 60 and 180 s
    some = chosen(items(lengths), 100)
    ranges = Counter(
        "short" if lengths[int(name[:-4])] < 60 else
        "middle" if lengths[int(name[:-4])] < 120 else "long"
        for name in some
    )  # fmt: skip
    assert ranges == {"short": 34, "middle": 33, "long": 33}
    assert all(30 <= lengths[int(name[:-4])] <= 180 for name in some)
    assert some == sorted(some, key=lambda name: int(name[:-4]))  # as they were listed


def test_edges_belong_to_the_range_that_they_begin_and_the_last_one_is_closed() -> None:
    assert chosen(items([29.9, 30, 60, 59.9, 120, 119.9, 180, 180.1]), 6) == [
        "1.mp4", "2.mp4", "3.mp4", "4.mp4", "5.mp4", "6.mp4",
    ]  # fmt: skip


def test_the_seed_draws() -> None:
    inputs = items([45, 90, 150] * 100)
    some = chosen(inputs, 30)
    assert {*chosen(reversed(inputs), 30)} == {*some}
    assert chosen([*inputs, *inputs], 30) == some, "what is listed twice counts once"
    other = chosen(inputs, 30, seed=43)
    assert len({*other}) == 30 and {*other} != {*some}
    # A longer list keeps what it does not replace.
    longer = chosen(items([45, 90, 150] * 110), 30)
    assert len({*longer} & {*some}) > 20


def test_too_few_of_a_range_are_told() -> None:
    with pytest.raises(SourceError, match=r"4 videos of 120 to 180 s are wanted, and 1 are listed"):
        chosen(items([45, 90] * 9 + [130]), 12)


@pytest.mark.parametrize(
    "metadata", [None, "{}", '{"duration_sec": "long"}', '{"duration_sec": null}']
)
def test_a_video_without_a_length(metadata: str | None) -> None:
    with pytest.raises(SourceError, match="has no length in seconds in the column"):
        chosen([*items([40]), Input("b.mp4", "/b.mp4", metadata)], 3)


def test_lengths_of_a_manifest(tmp_path: Path) -> None:
    """A CSV has text in its cells."""
    with (tmp_path / "videos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "length"])
        rows.writerows([f"{length}.mp4", f"{length}.0"] for length in (20, 40, 80, 160, 200))
    inputs = listed(tmp_path / "videos.csv")
    assert chosen(inputs, 3, column="length") == ["40.mp4", "80.mp4", "160.mp4"]


@pytest.mark.parametrize("edges", [(30,), (30, 30), (60, 30), (-1, 30)])
def test_edges_rise(edges: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        LengthsConfig(edges_sec=edges, count=3)
