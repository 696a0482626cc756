"""No length of input ends an engine: videos that do not fit the model, through the real job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support import jobs
from tests.support.media import Sound, numbered, render


def image(number: int) -> np.ndarray:
    return numbered(number, width=112, height=112)


def clips(folder: Path) -> None:
    """A good one, and what used to kill the engine or was lost for no reason."""
    size = {"width": 112, "height": 112, "image": image}
    render(folder / "good.mp4", count=8, rate=4, sounds=[Sound(seconds=2.0)], **size)
    # Positions far beyond the table of the model's clock, in a few kilobytes.
    times = [number * 800.0 for number in range(10)]
    render(folder / "silent_2h.mp4", count=10, times=times, **size)
    # Sound that fits no context.
    render(folder / "heard_10min.mp4", count=60, rate=1, sounds=[Sound(seconds=600.0)], **size)
    # Sound that the model has no token for.
    short = Sound(seconds=0.02, rate=16_000, codec="pcm_s16le")
    render(folder / "sound_20ms.mkv", count=8, rate=4, sounds=[short], **size)


@pytest.mark.timeout(500)
@pytest.mark.parametrize("way", ["fail", "window"])
def test_long_videos(tmp_path: Path, way: str) -> None:
    (tmp_path / "in").mkdir()
    clips(tmp_path / "in")
    done = jobs.caption(
        *jobs.DEMO,
        *("--set", f"recipe.on_too_long={way}"),
        # One death of an engine would end the run.
        *("--set", "health.engine_deaths_in_a_row=1"),
        *("--input", tmp_path / "in", "--output", tmp_path / "out"),
        timeout=480,
    )
    assert done.code == 0, done.stderr
    rows = jobs.read(tmp_path / "out", "captions")
    failures = {row["video_id"]: row for row in jobs.read(tmp_path / "out", "failures")}
    parts: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(rows, key=lambda row: row["index"]):
        parts.setdefault(row["video_id"], []).append((row["start_sec"], row["end_sec"]))
        assert row["level"] == (
            "video" if row["video_id"] in ("good.mp4", "sound_20ms.mkv") else "clip"
        )
    assert len(parts["good.mp4"]) == len(parts["sound_20ms.mkv"]) == 1
    long = {"silent_2h.mp4": 7200.0, "heard_10min.mp4": 600.0}
    if way == "fail":
        assert failures.keys() == long.keys()
        for failure in failures.values():
            assert failure["error"] == "MediaLimitError"
            assert "recipe.on_too_long" in failure["message"]
        return
    assert not failures
    for name, seconds in long.items():
        assert parts[name][0][0] == 0.0
        ends = [end for _, end in parts[name]]
        assert [start for start, _ in parts[name][1:]] == pytest.approx(ends[:-1])
        assert ends[-1] == pytest.approx(seconds, rel=0.2)
