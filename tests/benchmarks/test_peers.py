"""The job beside other ways: all of them at a tiny size, and what the figures are made of."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.peers.__main__ import JOB, OTHERS, Rates, compared
from tests.support.jobs import ROOT

CLIPS = 10
WAYS = [JOB, *OTHERS]


def test_the_start_does_not_count_in_the_steady_rate() -> None:
    few = {"captions": 8, "whole_sec": 30.0, "first_sec": 25.0}
    many = {"captions": 1008, "whole_sec": 50.0, "first_sec": 26.0}
    assert Rates.of(few, many) == Rates(steady=50.0, whole=20.16, first_sec=25.0)


def test_ratios_are_of_one_round_each() -> None:
    # The machine is twice as fast in the second round, and in the third.
    rounds = [
        {
            "job": Rates(steady=3 * speed, whole=2 * speed, first_sec=1),
            "published": Rates(steady=speed, whole=speed, first_sec=1 / speed),
        }
        for speed in (1.0, 2.0, 2.0)
    ]
    told = compared(rounds)
    assert told["job_over_published"] == {"steady": 3.0, "whole": 2.0}
    assert told["first_sec_published"] == 0.5


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_ways_caption_and_the_job_alone_keeps_count_of_bad_clips() -> None:
    command = [sys.executable, "-m", "benchmarks.peers", "--clips", str(CLIPS), "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    *ways, told = map(json.loads, done.stdout.strip().splitlines())
    assert [each["way"] for each in ways] == [*(way for way in WAYS for _ in range(2)), *WAYS]
    assert all(each["finished"] for each in ways[: 2 * len(WAYS)])
    assert {each["captions"] for each in ways[1 : 2 * len(WAYS) : 2]} == {CLIPS}
    assert told["with_bad_clips"]["job"]["captions"] == CLIPS + 1
    assert told["with_bad_clips"]["job"]["finished"]
    assert all(told[f"job_over_{way}"]["whole"] > 0 for way in OTHERS)
