"""Segments in the decoding process: the file stays open from one to the next."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.confinement import sandbox as module
from actors.confinement.sandbox import DecodeSandbox
from actors.decoding.decoder import decode
from actors.storage.access import open_file, open_range
from actors.storage.range_reader import RangeReader
from benchmarks.segments import SECONDS, cut, decoded, render_minute, repeat
from schemas.blocks import video_of
from schemas.errors import CorruptMediaError, MediaLimitError, NotAVideoError, SegmentError
from schemas.media import DecodedVideo, DecodeLimits, SamplingPlan, Segment, StorageOptions
from tests.support.media import Sound, numbers_of, render

PLAN = SamplingPlan(fps=2, audio_rate=16_000)


@pytest.fixture(scope="module", params=["mp4", "mkv"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / f"video.{request.param}"
    sounds = [Sound(seconds=40, bursts=[(10, 12)])]
    return render(path, count=1000, b_frames=2, gop=25, sounds=sounds)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were opened."""
    names: list[str] = []

    def counted(uri: str, *arguments: Any, **more: Any) -> Any:
        names.append(os.path.basename(uri))
        return open_file(uri, *arguments, **more)

    monkeypatch.setattr(module, "open_file", counted)
    return names


@pytest.fixture
def sandbox() -> Iterator[DecodeSandbox]:
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as made:
        yield made


def frames(sandbox: DecodeSandbox, uri: Path | str) -> list[int]:
    return numbers_of(video_of(sandbox.decode(str(uri), PLAN)).frames)


def alone(path: Path, segment: Segment) -> DecodedVideo:
    with open_range(str(path), StorageOptions()) as reader:
        return decode(reader, PLAN, DecodeLimits(), segment=segment)


def test_many_segments_of_a_file_open_it_once(
    sandbox: DecodeSandbox, opened: list[str], video: Path
) -> None:
    chance = np.random.default_rng(3)
    for begin in chance.uniform(0, 37, 25).round(2).tolist():
        clip = video_of(sandbox.decode(f"{video}#t={begin},{begin + 2}", PLAN))
        known = alone(video, Segment(begin, begin + 2))
        np.testing.assert_array_equal(clip.frames, known.frames)
        assert clip.audio is not None and known.audio is not None
        np.testing.assert_allclose(clip.audio, known.audio, atol=1e-6)
        assert clip.warnings == known.warnings == ()
    assert opened == [video.name]


def test_clips_come_out_of_the_open_file(
    sandbox: DecodeSandbox, opened: list[str], video: Path
) -> None:
    for begin, end in ((1.0, 3.0), (1.2, 2.0), (5.0, 6.0)):
        clip = sandbox.clip(f"{video}#t={begin},{end}", 1 << 24)
        with RangeReader(lambda a, b: clip[a:b], size=len(clip), name="clip") as reader:  # noqa: B023
            found = decode(reader, SamplingPlan(fps=100), DecodeLimits()).frames
        assert numbers_of(found) == [*range(round(25 * begin), round(25 * end))]
    assert frames(sandbox, f"{video}#t=1,2") == [25, 37], "between them segments are decoded"
    assert opened == [video.name]
    assert sandbox.clip(str(video), 1 << 24)[4:8] == b"ftyp"
    with pytest.raises(MediaLimitError):
        sandbox.clip(f"{video}#t=1,3", 1000)
    assert sandbox.layers() == dict.fromkeys(sandbox.layers(), ""), "all of it was confined"


def test_what_a_segment_reads_is_its_own(sandbox: DecodeSandbox, video: Path) -> None:
    infos = [
        video_of(sandbox.decode(f"{video}#t={begin},{begin + 2}", PLAN)).info
        for begin in (10, 10, 10)
    ]
    assert infos[0].bytes_read > 0
    assert [each.bytes_read for each in infos[1:]] == [0, 0]


def test_a_file_is_closed_for_another_or_for_all_of_itself(
    sandbox: DecodeSandbox, opened: list[str], video: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copy(video, tmp_path / f"other{video.suffix}"))
    first = f"{video}#t=1,2"
    assert frames(sandbox, first) == [25, 37]
    assert frames(sandbox, f"{other}#t=2,3") == [50, 62]
    assert frames(sandbox, first) == [25, 37]
    assert frames(sandbox, video)[-1] == 987
    assert frames(sandbox, first) == [25, 37]
    assert opened == [video.name, other.name, video.name, video.name, video.name]


def test_segments_that_are_not_there_cost_nothing(
    sandbox: DecodeSandbox, opened: list[str], video: Path
) -> None:
    assert frames(sandbox, f"{video}#t=1,2") == [25, 37]
    for fragment in ("#t=50,60", "#t=3,2", "#t=nan,1"):
        with pytest.raises(SegmentError):
            sandbox.decode(f"{video}{fragment}", PLAN)
    pid = sandbox.pid
    assert frames(sandbox, f"{video}#t=2,3") == [50, 62]
    assert opened == [video.name]
    assert sandbox.pid == pid


def test_after_a_failure_everything_is_opened_anew(
    sandbox: DecodeSandbox, opened: list[str], video: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video " * 100)
    for _ in range(2):
        with pytest.raises((NotAVideoError, CorruptMediaError)):
            sandbox.decode(f"{text}#t=1,2", PLAN)
    assert frames(sandbox, f"{video}#t=1,2") == [25, 37]
    assert sandbox.pid is not None
    os.kill(sandbox.pid, signal.SIGKILL)
    assert sandbox._child is not None
    sandbox._child._process.wait()
    assert frames(sandbox, f"{video}#t=2,3") == [50, 62]
    assert opened == ["text.mp4", "text.mp4", video.name, video.name]


def test_on_s3_a_segment_costs_its_bytes_and_the_index(
    sandbox: DecodeSandbox, opened: list[str], tmp_path: Path, gateway: Any, gateway_bucket: str
) -> None:
    chance = np.random.default_rng(1)
    noise = chance.integers(0, 255, (64, 96, 3), dtype=np.uint8)
    path = render(
        tmp_path / "long.mp4", count=10_000, gop=50, codec_options={"crf": "30"},
        image=lambda number: np.roll(noise, 3 * number, axis=1),
        sounds=[Sound(seconds=400, bursts=[(1, 2)])],
    )  # fmt: skip
    gateway.client().upload_file(str(path), gateway_bucket, "long.mp4")
    chosen = [200.0, 203.1, 20.0, 390.5]
    infos = [
        video_of(sandbox.decode(f"s3://{gateway_bucket}/long.mp4#t={begin},{begin + 2}", PLAN)).info
        for begin in chosen
    ]
    size = path.stat().st_size
    assert size > 8 << 20
    assert infos[0].bytes_read < 0.1 * size
    assert infos[0].requests < 12
    for info in infos[1:]:
        assert info.bytes_read < 0.02 * size
        assert info.requests <= 3
    assert opened == ["long.mp4"]


@pytest.mark.slow
def test_ten_seconds_of_two_hours(tmp_path: Path, gateway: Any, gateway_bucket: str) -> None:
    """At most a twentieth of the bytes, and the requests of a file of 10 s beside the index's."""
    minute, film, short = (tmp_path / f"{name}.mp4" for name in ("minute", "film", "short"))
    render_minute(minute)
    repeat(minute, film, 120)
    cut(minute, short, 20, 20 + SECONDS, exact=True)
    for path in (film, short):
        gateway.client().upload_file(str(path), gateway_bucket, path.name)
    place, size = f"s3://{gateway_bucket}", film.stat().st_size
    film.unlink()
    storage = StorageOptions(endpoint_url=gateway.endpoint_url)
    middle, other = (f"{place}/film.mp4#t={begin},{begin + SECONDS}" for begin in (3600, 1234.5))
    one, two = decoded([middle], storage), decoded([middle, other], storage)
    alone = decoded([f"{place}/short.mp4"], storage)
    assert size > 100e6
    assert one["frames"] == alone["frames"] == 20
    assert one["bytes"] <= 0.05 * size
    # What begins between two key frames has one before it, and may cost a request more.
    assert two["requests"] - one["requests"] <= alone["requests"] + 1
