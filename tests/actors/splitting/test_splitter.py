"""Films with known cuts and looks, split: what comes out is what was rendered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.confinement.sandbox import DecodeSandbox
from actors.splitting.scores import Watcher
from actors.splitting.splitter import split
from rayjob.output.duplicates import Duplicates
from rayjob.output.layout import ResultTables
from rayjob.output.store import TableStore
from schemas.errors import NoMediaStreamError
from schemas.media import DecodeLimits, StorageOptions
from schemas.splitting import SplitConfig
from schemas.tables import SegmentRow, rows_of, splits_table
from tests.support.films import FPS, WIDTH, Film, Piece, Shot, film, write

FRAME = 1 / FPS
WITHOUT_FADES = {"fades": False}
FADE = 1.1 * FRAME
"""Error of a fade's middle."""

EVERY_FIFTH = 5
"""Film that is planted a second time, smaller, worse and with other key frames."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[DecodeSandbox]:
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as made:
        yield made


def segments(
    sandbox: DecodeSandbox, uri: str, video_id: str = "film.mp4", **settings: Any
) -> list[SegmentRow]:
    row = {"video_id": video_id, "uri": uri, "metadata": None, "source_version": None}
    return split(sandbox, row, SplitConfig(input=("in",), output="out", **settings))


@pytest.mark.parametrize(
    "count", [pytest.param(6, id="few"), pytest.param(60, id="all", marks=pytest.mark.slow)]
)
def test_cuts_scores_and_duplicates_are_those_that_were_rendered(
    tmp_path: Path, sandbox: DecodeSandbox, count: int
) -> None:
    found = missed = invented = flashes = 0
    store = TableStore(str(tmp_path / "out"), StorageOptions())
    duplicates = Duplicates(store, ResultTables.of_split("split"), bits=12)
    for number in range(count):
        made = film(number)
        uri = write(tmp_path, f"{number}.mp4", made.encoded())
        rows = segments(sandbox, uri, f"{number}.mp4", cuts=WITHOUT_FADES)
        cuts = [row.start_sec for row in rows[1:]]
        faded = sorted({row.start_sec for row in segments(sandbox, uri)[1:]} - set(cuts))
        assert faded == pytest.approx(made.fades, abs=FADE)
        right = right = [
            cut for cut in made.cuts if any(abs(cut - each) < FRAME / 10 for each in cuts)
        ]
        found, missed = found + len(right), missed + len(made.cuts) - len(right)
        invented += len(cuts) - len(right)
        flashes += sum(abs(cut - each) < 4 * FRAME for each in flashed(made) for cut in cuts)
        if cuts == pytest.approx(made.cuts):
            for piece, row in zip(made.pieces, rows, strict=True):
                check_scores(made, piece, row)
        marked = list(duplicates.marked([splits_table(f"{number}.mp4", segments=rows)]))
        assert not any(row["duplicate_of"] for row in rows_of(marked[0]).to_pylist())
        if number % EVERY_FIFTH == 0:
            again = write(
                tmp_path, f"copy{number}.mp4", made.encoded(width=160, height=90, crf=30, gop=12)
            )
            copies = segments(sandbox, again, f"copy of {number}.mp4", cuts=WITHOUT_FADES)
            (table,) = duplicates.marked([splits_table(f"copy of {number}.mp4", segments=copies)])
            for row in rows_of(table).to_pylist():
                if row["phash"] is not None:
                    assert row["duplicate_of"].startswith(f"{number}.mp4#t=")
                    assert not row["kept"] and "shows what" in row["reason"]
    assert flashes == 0
    assert 2 * found / (2 * found + missed + invented) >= 0.98


def flashed(made: Film) -> list[float]:
    begins = np.cumsum([0, *(shot.frames for shot in made.shots)])
    return [
        (begin + shot.flash) / FPS
        for begin, shot in zip(begins, made.shots, strict=False)
        if shot.flash is not None
    ]


def check_scores(made: Film, piece: Piece, row: SegmentRow) -> None:
    """The errors that docs/split.md states."""
    sound = made.sound()[round(row.start_sec * 16_000) : round(row.end_sec * 16_000)]
    assert row.audio_rms == pytest.approx(np.sqrt(np.mean(sound**2)), rel=0.1, abs=0.02)
    if len(piece.shots) > 1 or piece.shots[0].flash is not None:
        return
    (shot,) = piece.shots
    images = np.array(made.images[piece.first : piece.stop], dtype=np.float32)
    light = float(np.mean(images @ np.array([0.299, 0.587, 0.114], np.float32))) / 255
    assert row.luminance == pytest.approx(light, abs=0.02)
    dark = shot.light < 0.1
    assert row.black == pytest.approx(float(dark), abs=0.05)
    if not dark:
        assert row.still == pytest.approx(float(shot.speed == 0), abs=0.15)
        assert row.motion == pytest.approx(shot.speed * FPS / WIDTH, rel=0.1, abs=0.01)


def test_what_is_blurred_is_less_sharp_by_far(tmp_path: Path, sandbox: DecodeSandbox) -> None:
    made = Film([Shot(frames=48, seed=1), Shot(frames=48, seed=1, blur=4.0, light=0.6)])
    sharp, blurred = segments(sandbox, write(tmp_path, "f.mp4", made.encoded()))
    assert sharp.sharpness is not None and blurred.sharpness is not None
    assert blurred.sharpness < sharp.sharpness / 2


def test_a_long_shot_is_divided_and_a_short_one_stays_as_a_row_with_its_reason(
    tmp_path: Path, sandbox: DecodeSandbox
) -> None:
    made = Film([Shot(frames=120, seed=1), Shot(frames=12, seed=2), Shot(frames=30, seed=3)])
    rows = segments(sandbox, write(tmp_path, "f.mp4", made.encoded()), max_sec=2.5)
    bounds = [(row.start_sec, row.end_sec) for row in rows]
    assert bounds == [pytest.approx(each) for each in ((0, 2.5), (2.5, 5), (5, 5.5), (5.5, 6.75))]
    assert [row.cut_score is None for row in rows] == [True, True, False, False]
    assert [row.kept for row in rows] == [True, True, False, True]
    assert rows[2].reason == "0.50 s are shorter than 1 s"


def test_filters_say_all_that_is_wrong(tmp_path: Path, sandbox: DecodeSandbox) -> None:
    made = Film([Shot(frames=48, seed=1, light=0.02), Shot(frames=48, seed=2, speed=2)])
    filters = {"black": {"max": 0.5}, "luminance": {"min": 0.1}, "text_area": {"max": 0.1}}
    rows = segments(sandbox, write(tmp_path, "f.mp4", made.encoded()), filters=filters)
    assert [row.kept for row in rows] == [False, True]
    assert rows[0].reason is not None
    assert rows[0].reason.startswith("black 1 is above 0.5; luminance 0.0")


def test_a_segment_is_split_on_the_clock_of_its_file(
    tmp_path: Path, sandbox: DecodeSandbox
) -> None:
    made = Film([Shot(frames=48, seed=1), Shot(frames=48, seed=2), Shot(frames=48, seed=3)])
    uri = write(tmp_path, "f.mp4", made.encoded())
    rows = segments(sandbox, f"{uri}#t=1,5", "f.mp4#t=1,5")
    assert [row.start_sec for row in rows] == pytest.approx([1, 2, 4])
    assert {row.uri for row in rows} == {uri}


def test_a_video_of_many_spans_is_split_as_one(
    tmp_path: Path, sandbox: DecodeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = film(0)
    uri = write(tmp_path, "f.mp4", made.encoded())
    whole: Sequence[SegmentRow] = segments(sandbox, uri)
    monkeypatch.setattr("actors.splitting.splitter.SPAN_SEC", 1.3)
    rows = segments(sandbox, uri)
    assert [row.start_sec for row in rows] == pytest.approx([row.start_sec for row in whole])
    for row, other in zip(rows, whole, strict=True):
        assert row.motion == pytest.approx(other.motion, rel=0.1)
        assert row.audio_rms == pytest.approx(other.audio_rms, rel=0.05)
        assert row.duration_sec == pytest.approx(other.duration_sec, abs=0.01)


def test_sound_alone_is_not_split(tmp_path: Path, sandbox: DecodeSandbox) -> None:
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(64_000))
    with pytest.raises(NoMediaStreamError, match="no picture"):
        segments(sandbox, str(tmp_path / "a.wav"))


def test_sound_that_is_away_for_a_while_is_silence_there() -> None:
    watcher = Watcher(0.2)
    loud = np.full(8_000, 0.5, np.float32)
    watcher.listen(0.0, loud, 8_000)
    watcher.listen(3.0, loud, 8_000)
    assert watcher.scores(0, 1).audio_rms == pytest.approx(0.5)
    assert watcher.scores(1, 3).audio_rms == 0
    assert watcher.scores(3, 4).audio_rms == pytest.approx(0.5)
