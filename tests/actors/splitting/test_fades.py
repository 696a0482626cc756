"""Fades through black, rendered: which are cuts, and where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from actors.confinement.sandbox import DecodeSandbox
from actors.splitting.splitter import split
from schemas.media import DecodeLimits, StorageOptions
from schemas.splitting import SplitConfig
from tests.support.films import FPS, HEIGHT, WIDTH, Film, Join, Shot, write

FRAME = 1 / FPS


@pytest.fixture(scope="module")
def sandbox() -> Iterator[DecodeSandbox]:
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as made:
        yield made


@pytest.fixture
def cuts(tmp_path: Path, sandbox: DecodeSandbox) -> Any:
    def found(shots: Film | list[Shot], **settings: Any) -> list[float]:
        """Frames behind the cuts of a film."""
        made = shots if isinstance(shots, Film) else Film(shots)
        uri = write(tmp_path, "f.mp4", made.encoded())
        row = {"video_id": "f.mp4", "uri": uri, "metadata": None, "source_version": None}
        config = SplitConfig(input=("in",), output="out", cuts=settings)
        rows = split(sandbox, row, config)
        assert all(each.cut_score is not None for each in rows[1:])
        return [each.start_sec * FPS for each in rows[1:]]

    return found


def faded(
    black: int, *, seeds: tuple[int, int] = (1, 2), speed: int = 1, join: Join = "fade"
) -> list[Shot]:
    """Two scenes of 60 frames, and black between them."""
    return [
        Shot(frames=60, seed=seeds[0], speed=speed, join=join),
        Shot(frames=black, seed=0, light=0, join=join),
        Shot(frames=60, seed=seeds[1], speed=speed),
    ]


@pytest.mark.parametrize("black", [8, 15, 24, 60])
def test_black_that_is_held_between_two_scenes_is_cut_in_its_middle(cuts: Any, black: int) -> None:
    (cut,) = cuts(faded(black))
    assert cut == pytest.approx(round(cut), abs=0.01)
    assert abs(cut - (60 + black / 2)) < 1.01


def test_a_fade_back_to_the_same_scene_is_not_a_cut(cuts: Any) -> None:
    assert cuts(faded(24, seeds=(1, 1), speed=0)) == []


def test_a_fade_is_a_cut_where_it_does_not_stay_black(cuts: Any) -> None:
    shots = [Shot(frames=60, seed=1, join="fade"), Shot(frames=60, seed=2)]
    assert cuts(shots) == pytest.approx([60], abs=1.01)


def test_a_dissolve_and_a_dark_frame_are_not_cuts(cuts: Any) -> None:
    assert cuts([Shot(frames=60, seed=1, join="dissolve"), Shot(frames=60, seed=2)]) == []
    made = Film([Shot(frames=60, seed=1, speed=0)])
    made.images[30] = np.zeros_like(made.images[30])
    assert cuts(made) == []


def test_fades_may_be_left_whole(cuts: Any) -> None:
    assert cuts(faded(24), fades=False) == []


def test_black_between_two_cuts_is_a_segment_of_its_own(cuts: Any) -> None:
    assert cuts(faded(24, join="cut")) == pytest.approx([60, 84])


def test_black_that_a_film_begins_or_ends_with_is_not_a_cut(cuts: Any) -> None:
    dark = Shot(frames=30, seed=0, light=0, join="fade")
    assert cuts([dark, Shot(frames=60, seed=1, join="fade"), dark]) == []


def test_a_white_flash_in_the_dark_is_not_a_cut(cuts: Any) -> None:
    assert cuts([Shot(frames=60, seed=1, light=0, flash=30)]) == []


def test_a_title_on_black_is_a_segment_of_its_own(cuts: Any) -> None:
    made = Film(faded(120))
    title = Image.new("RGB", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(title)
    draw.text((60, 45), "IN A WORLD", font=ImageFont.load_default(14), fill="white")
    assert np.mean(title) < 0.06 * 255  # black, by the mean
    for at in range(90, 150):
        light = min(1.0, (at - 90) / 10, (149 - at) / 10)
        made.images[at] = (np.asarray(title) * light).astype(np.uint8)
    first, second = cuts(made)
    assert first == pytest.approx(75, abs=2) and second == pytest.approx(165, abs=2)
