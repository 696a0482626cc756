"""MPEG clocks begin again after 26.5 hours: a recording in which that happens goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.actors.decoding.test_decoder import expected, load
from tests.support.media import Sound, numbers_of, render

WRAP_SEC = 2**33 / 90_000


@pytest.mark.parametrize("extension", ["ts", "mpg"])
@pytest.mark.parametrize("before", [0.1, 3.7, 7.9])
def test_the_clock_wraps(tmp_path: Path, extension: str, before: float) -> None:
    codec = {"codec": "mpeg2video"} if extension == "mpg" else {}
    sound = Sound(seconds=8, bursts=[(6.0, 7.0)], codec="mp2")
    path = render(
        tmp_path / f"clip.{extension}",
        count=200,
        sounds=[sound],
        container_options={"output_ts_offset": f"{WRAP_SEC - before:.6f}"},
        **codec,
    )
    clip = load(path, num_frames=9, audio_rate=16_000)
    assert clip.info.duration_sec == pytest.approx(8.0, abs=0.1)
    assert numbers_of(clip.frames) == expected(200, 9)
    assert clip.audio is not None
    burst = np.flatnonzero(np.abs(clip.audio) > 0.1) / 16_000
    assert burst[0] == pytest.approx(6.0, abs=0.05)
