"""The benchmark of the start, on a few clips."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed_of_light import render
from benchmarks.startup import phases


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_phases_add_up_to_the_first_caption(tmp_path: Path) -> None:
    render(tmp_path / "clips", 4)
    told = phases(tmp_path / "clips", tmp_path / "out", "configs/demo.yaml")
    parts = [told[name] for name in ("driver", "ray", "engine_import", "engine_process")]
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(told["first_sec"])
    assert told["exit"] > 0
