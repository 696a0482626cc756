"""What a run leaves about itself, and its exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rayjob.output.commits import Commit
from rayjob.output.summary import (
    Cost,
    RunSummary,
    clear_success,
    exit_code,
    write_config,
    write_success,
    write_summary,
)
from tests.support.outputs import KINDS, NO_LOCK, files, open_store


def summary(*, captioned: int = 3, failed: int = 1) -> RunSummary:
    return RunSummary(
        run_id="r1",
        videos_in=10,
        videos_captioned=captioned,
        videos_failed=failed,
        videos_skipped=6,
        captions=3,
        wall_sec=2.0,
        videos_per_sec=1.5,
        video_hours_per_hour=7.5,
        prompt_tokens=300,
        output_tokens=60,
        engine_busy_fraction=None,
        failures_by_error={"OpenError": failed},
    )


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_a_run(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    store = open_store(kind, request, tmp_path)
    write_config(store, "r1", "recipe:\n  name: omni\n")
    write_summary(store, summary())
    listed = Commit(
        3, captions=("captions/recipe=omni/run_id=r1/part-00000.parquet",), failures=(), next_part=1
    )
    for counting in (replace(listed, epoch=2), listed):
        write_success(store, "r1", counting, guard=NO_LOCK.check)
    assert json.loads(store.read_bytes("runs/r1/_SUCCESS")) == {
        "epoch": 3, "captions": [*listed.captions], "failures": [], "next_part": 1,
    }  # fmt: skip
    assert files(store, "runs") == [
        "runs/r1/_SUCCESS",
        "runs/r1/config.yaml",
        "runs/r1/summary.json",
    ]
    assert store.exists("runs/r1/_SUCCESS") and not store.exists("runs/r1")
    text = store.read_bytes("runs/r1/summary.json").decode()
    assert json.loads(text) == json.loads(summary().to_line())
    assert store.read_bytes("runs/r1/config.yaml") == b"recipe:\n  name: omni\n"
    clear_success(store, "r1")
    clear_success(store, "r1")
    assert not store.exists("runs/r1/_SUCCESS")


def test_the_line_has_the_fields_users_rely_on() -> None:
    line = summary().to_line()
    assert "\n" not in line
    assert set(json.loads(line)) >= {
        "run_id",
        "videos_in",
        "videos_captioned",
        "videos_failed",
        "videos_skipped",
        "captions",
        "wall_sec",
        "videos_per_sec",
        "video_hours_per_hour",
        "prompt_tokens",
        "output_tokens",
        "engine_busy_fraction",
        "failures_by_error",
        "cost",
    }
    assert set(json.loads(line)["cost"]) == {"gpu_hours", "money"}


@pytest.mark.parametrize(
    ("captioned", "failed", "rate", "code"),
    [
        (3, 1, 1.0, 0),
        (3, 1, 0.25, 0),
        (3, 1, 0.24, 3),
        (0, 0, 0.0, 0),
        (0, 5, 1.0, 0),
        (9, 1, 0, 3),
    ],
)
def test_exit_code(captioned: int, failed: int, rate: float, code: int) -> None:
    assert exit_code(summary(captioned=captioned, failed=failed), max_failure_rate=rate) == code


def test_cost() -> None:
    cost = Cost.of(gpu_sec=7200, price_per_gpu_hour=2.5)
    assert (cost.gpu_hours, cost.money) == (2.0, 5.0)
    assert Cost.of(gpu_sec=0, price_per_gpu_hour=None).money is None
