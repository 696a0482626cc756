"""Segments: what is shown and heard in a span of a file, and nothing from beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.decoding.decoder import decode
from actors.storage.access import open_range
from schemas.budget import Budget, ModelLimits
from schemas.errors import CorruptMediaError, MediaLimitError, SegmentError, TruncatedMediaError
from schemas.media import DecodedVideo, DecodeLimits, SamplingPlan, Segment, StorageOptions
from tests.support.media import Sound, numbers_of, render

RATE, SECONDS = 25, 40
COUNT = RATE * SECONDS
SOUND = 16_000
# Beside the spans that are heard: 10 ms before 20 s, and right behind 24 s.
BURSTS = [(19.98, 19.99), (21.0, 21.1), (24.005, 24.02)]
SUFFIXES = ("mp4", "mkv", "ts", "webm")


@pytest.fixture(scope="module", params=SUFFIXES)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    suffix = request.param
    web = suffix == "webm"
    return render(
        tmp_path_factory.mktemp("video") / f"video.{suffix}",
        count=COUNT, codec="libvpx" if web else "libx264", b_frames=0 if web else 3, gop=50,
        sounds=[
            Sound(
                seconds=SECONDS, bursts=BURSTS, rate=48_000, codec="libopus" if web else "aac"
            )
        ],
    )  # fmt: skip


def load(
    path: Path,
    begin: float,
    end: float | None,
    *,
    limits: DecodeLimits | None = None,
    budget: Budget | None = None,
    **plan: float,
) -> DecodedVideo:
    with open_range(str(path), StorageOptions()) as reader:
        return decode(
            reader,
            SamplingPlan.model_validate(plan),
            limits or DecodeLimits(),
            budget=budget,
            segment=Segment(begin, end),
        )


@pytest.mark.parametrize(
    ("begin", "end", "plan", "frames"),
    [
        (20.0, 24.0, {"num_frames": 4}, [500, 533, 566, 599]),
        (20.0, 24.0, {"fps": 1}, [500, 525, 550, 575]),
        (20.0, 20.4, {"fps": 25}, list(range(500, 510))),
        (20.0, 20.4, {"num_frames": 64}, list(range(500, 510))),
        # Whoever cuts at a frame may write a little less.
        (19.9993, 20.4, {"num_frames": 1}, [500]),
        (20.0, 20.04, {"num_frames": 8}, [500]),
        # No frame begins in it, and one is shown.
        (20.01, 20.03, {"fps": 2}, [500]),
        (0.0, 0.2, {"num_frames": 2}, [0, 4]),
        (39.8, None, {"fps": 25}, list(range(995, 1000))),
    ],
)
def test_the_frames_are_those_of_the_span(
    video: Path, begin: float, end: float | None, plan: dict[str, float], frames: list[int]
) -> None:
    clip = load(video, begin, end, **plan)
    assert numbers_of(clip.frames) == frames
    assert clip.info.duration_sec == pytest.approx((end or SECONDS) - begin, abs=0.005)
    assert clip.timestamps[0] == 0.0
    assert np.all(np.diff(clip.timestamps) > 0)
    assert clip.timestamps[-1] < clip.info.duration_sec
    assert clip.warnings == ()


def test_the_sound_is_that_of_the_span(video: Path) -> None:
    clip = load(video, 20.0, 24.0, fps=1, audio_rate=SOUND)
    assert clip.audio is not None
    assert len(clip.audio) == 4 * SOUND
    burst = np.flatnonzero(abs(clip.audio) > 0.1) / SOUND
    assert burst[0] == pytest.approx(1.0, abs=0.005)
    assert burst[-1] == pytest.approx(1.1, abs=0.005)
    # 46 dB below the bursts: what a codec smears.
    assert abs(clip.audio[: SOUND // 2]).max() < 0.005


def test_beyond_the_end(video: Path) -> None:
    clip = load(video, 39.0, 50.0, num_frames=2, audio_rate=SOUND)
    assert numbers_of(clip.frames) == [975, 999]
    assert clip.info.duration_sec == pytest.approx(1.0, abs=0.05)
    assert [each[:27] for each in clip.warnings] == ["the segment ends at 50 s, a"]
    for begin in (40.5, 1000.0):
        with pytest.raises(SegmentError, match=r"begins at .* the video ends at 40\.0"):
            load(video, begin, begin + 10, num_frames=2)


def test_the_limits_are_of_the_span(video: Path) -> None:
    limits = DecodeLimits(max_duration_sec=10)
    assert numbers_of(load(video, 20, 30, limits=limits, num_frames=1).frames) == [500]
    with pytest.raises(MediaLimitError, match=r"the segment is 12 s long, more than 10 s"):
        load(video, 20, 32, limits=limits, num_frames=1)


def test_the_budget_is_of_the_span(video: Path) -> None:
    model = ModelLimits(context=1000, sound_tokens_per_sec=100)
    budget = Budget(limits=model)
    assert load(video, 20, 29, budget=budget, fps=1, audio_rate=SOUND).audio is not None
    with pytest.raises(MediaLimitError, match=r"too long for the model: .* 11\.0 s of sound"):
        load(video, 20, 31, budget=budget, fps=1, audio_rate=SOUND)
    parts = Budget(limits=model, on_too_long="window")
    clip = load(video, 20, 36, budget=parts, fps=1, audio_rate=SOUND)
    assert clip.info.window_sec == pytest.approx(8.0, abs=0.1)


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    path = render(
        tmp_path / "clip.mp4", count=COUNT, gop=25, container_options={"movflags": "faststart"}
    )
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    assert numbers_of(load(path, 10, 12, num_frames=2).frames) == [250, 299]
    with pytest.raises(TruncatedMediaError, match=r"of the segment the header announces 4\.0 s"):
        load(path, 34, 38, num_frames=2)


def test_frames_from_before_never_stand_in_for_lost_ones(tmp_path: Path) -> None:
    """The picture of the span is damaged beyond decoding: no caption of what was before it."""
    path = render(tmp_path / "clip.mp4", count=200, gop=25)
    with open_range(str(path), StorageOptions()) as reader:
        clip = decode(reader, SamplingPlan(num_frames=1), DecodeLimits(), segment=Segment(3, 5))
        assert numbers_of(clip.frames) == [75]
    import av

    with av.open(str(path)) as container:
        lost = [each for each in container.demux(video=0) if each.pts is not None]
        lost = [each for each in lost if 2.9 <= float(each.pts * each.time_base) < 5.1]
        spans = [(each.pos, each.size) for each in lost]
    data = bytearray(path.read_bytes())
    for position, size in spans:
        data[position : position + size] = bytes(size)
    path.write_bytes(data)
    with pytest.raises(CorruptMediaError):
        load(path, 3, 5, num_frames=4)
