"""Sparse plans of long files read and decode little."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.decoding import pictures
from actors.decoding.decoder import decode
from actors.decoding.reading import ReadingCosts
from actors.storage.access import open_range
from schemas.media import DecodedVideo, DecodeLimits, SamplingPlan, StorageOptions
from tests.actors.decoding.test_decoder import expected
from tests.support.media import Image, Sound, numbered, numbers_of, render

COUNT, RATE, GOP = 1200, 4, 20
PLAN = SamplingPlan(num_frames=10, audio_rate=16_000)
NOISE = np.random.default_rng(0).integers(0, 255, (7, 60, 160, 3), dtype=np.uint8)


def noisy(number: int) -> Image:
    """A numbered frame over noise, so that a frame takes kilobytes, as real ones do."""
    image = numbered(number, width=160, height=120)
    image[60:] = NOISE[number % 7]
    return image


@pytest.fixture(scope="module", params=["mp4", "mkv"])
def long_clip(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(
        tmp_path_factory.mktemp("long") / f"long.{request.param}",
        count=COUNT,
        rate=RATE,
        width=160,
        height=120,
        gop=GOP,
        b_frames=2,
        image=noisy,
        sounds=[Sound(seconds=COUNT / RATE, bursts=[(200.0, 201.0)], rate=22_050)],
    )


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the packets that the picture's decoder gets."""
    sizes: list[int] = []
    frames = pictures._frames

    def counted(source: Any, packets: Iterable[Any]) -> Iterator[Any]:
        def each() -> Iterator[Any]:
            for packet in packets:
                sizes.append(packet.size)
                yield packet

        return frames(source, each())

    monkeypatch.setattr(pictures, "_frames", counted)
    return sizes


def check(clip: DecodedVideo) -> None:
    assert numbers_of(clip.frames) == expected(COUNT, 10)
    assert clip.timestamps == pytest.approx(np.linspace(0, (COUNT - 1) / RATE, 10), abs=0.002)
    assert clip.audio is not None
    assert len(clip.audio) / 16_000 == pytest.approx(COUNT / RATE, abs=0.1)
    burst = np.flatnonzero(np.abs(clip.audio) > 0.1) / 16_000
    assert burst[0] == pytest.approx(200.0, abs=0.05)
    assert burst[-1] == pytest.approx(201.0, abs=0.05)


def test_only_the_needed_groups_are_decoded(long_clip: Path, fed: list[int]) -> None:
    with open_range(str(long_clip), StorageOptions()) as reader:
        check(decode(reader, PLAN, DecodeLimits()))
    assert len(fed) < 10 * (GOP + 4)


@pytest.mark.parametrize("long_clip", ["mp4"], indirect=True)
def test_an_mp4_with_sound_takes_few_requests(
    long_clip: Path, gateway: Any, gateway_bucket: str
) -> None:
    gateway.client().upload_file(str(long_clip), gateway_bucket, "long.mp4")
    options = StorageOptions(endpoint_url=gateway.endpoint_url)
    with open_range(f"s3://{gateway_bucket}/long.mp4", options) as reader:
        clip = decode(reader, PLAN, DecodeLimits())
    check(clip)
    assert clip.info.bytes_stored == long_clip.stat().st_size
    assert clip.info.bytes_read <= clip.info.bytes_stored
    assert clip.info.requests < 10


@pytest.mark.parametrize("long_clip", ["mp4"], indirect=True)
def test_where_bytes_are_dear_only_the_needed_groups_are_read(long_clip: Path) -> None:
    costs = ReadingCosts.of(StorageOptions(usd_per_gb=100))
    with open_range(str(long_clip), StorageOptions()) as reader:
        clip = decode(reader, SamplingPlan(num_frames=10), DecodeLimits(), costs)
    assert numbers_of(clip.frames) == expected(COUNT, 10)
    assert clip.info.bytes_read <= 0.2 * clip.info.bytes_stored
    assert clip.info.requests < 30


def test_a_dense_plan_reads_the_file_once(long_clip: Path) -> None:
    with open_range(str(long_clip), StorageOptions()) as reader:
        clip = decode(reader, SamplingPlan(num_frames=600, audio_rate=16_000), DecodeLimits())
        assert reader.requests < 30
    # Matroska's milliseconds may make a moment just before a frame fall on it.
    difference = np.array(numbers_of(clip.frames)) - expected(COUNT, 600)
    assert set(difference.tolist()) <= {0, 1}
    assert difference.sum() < 10
    assert clip.info.bytes_read <= clip.info.bytes_stored


def test_variable_frame_rate_is_no_reason_to_read_everything(
    tmp_path: Path, fed: list[int]
) -> None:
    chance = np.random.default_rng(5)
    times = np.cumsum(chance.uniform(0.02, 0.3, 500)).tolist()
    path = render(
        tmp_path / "clip.mp4", count=500, times=times, b_frames=3, gop=25,
        width=160, height=120, image=noisy,
    )  # fmt: skip
    costs = ReadingCosts.of(StorageOptions(usd_per_gb=100))
    with open_range(str(path), StorageOptions()) as reader:
        clip = decode(reader, SamplingPlan(num_frames=6), DecodeLimits(), costs)
    since = np.array(times) - times[0]
    moments = np.linspace(0, since[-1], 6)
    shown = np.searchsorted(since, moments + 1e-4, side="right") - 1
    assert numbers_of(clip.frames) == shown.tolist()
    assert clip.timestamps == pytest.approx(moments, abs=0.001)
    assert len(fed) < 6 * 45
    assert clip.info.bytes_read < 0.6 * clip.info.bytes_stored
