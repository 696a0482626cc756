"""Totals of results, and rates for a person."""

from __future__ import annotations

import pytest

from rayjob.counts import Counts, counted, pace
from schemas.tables import results_table
from tests.support.outputs import caption, captioned, failed, failure, together


def test_totals_of_results() -> None:
    part = results_table("p", captions=[caption("p", level="clip")], failures=[failure("p")])
    first = Counts.of(together([captioned(["a", "b"]), part]))
    assert (first.videos_captioned, first.videos_failed, first.videos) == (2, 1, 3)
    assert (first.captions, first.prompt_tokens, first.output_tokens) == (3, 300, 60)
    assert first.video_sec == pytest.approx(7.5)
    second = Counts.of(failed(["c", "d"], error="OpenError"))
    both = first + second
    assert list(both.failures_by_error.items()) == [("OpenError", 2), ("NotAVideoError", 1)]
    assert (both.videos, both.captions, both.video_sec) == (5, 3, first.video_sec)
    assert Counts() + Counts() == Counts()


@pytest.mark.parametrize(
    ("per_sec", "told"),
    [
        (0.0, ""),
        (123.4, "123 a second"),
        (3.21, "3.2 a second"),
        (9.99, "10 a second"),
        (0.2, "12 a minute"),
        (0.02, "1.2 a minute"),
        (0.004, "14 an hour"),
        (0.0001, "less than one an hour"),
    ],
)
def test_no_rate_reads_nothing(per_sec: float, told: str) -> None:
    assert pace(per_sec) == told


def test_one_is_no_plural() -> None:
    assert [counted(number, "engine") for number in (0, 1, 2)] == [
        "0 engines", "1 engine", "2 engines",
    ]  # fmt: skip
