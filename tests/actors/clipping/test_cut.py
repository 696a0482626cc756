"""Clips: the right frames, sound in step, and packets that are copied where they can be."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from actors.clipping.cut import cut
from actors.decoding.decoder import VideoFile, decode
from actors.decoding.reading import LIST_PRICES
from actors.storage.access import open_range
from actors.storage.range_reader import RangeReader
from schemas.errors import MediaLimitError, NotAVideoError, SegmentError
from schemas.media import (
    WHOLE,
    DecodedVideo,
    DecodeLimits,
    SamplingPlan,
    Segment,
    StorageOptions,
)
from tests.support.media import Sound, loudness, number_of, numbered, numbers_of, render

RATE = 16_000
BURST = Sound(seconds=10, bursts=[(3, 3.1)], layout="stereo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module", params=["mp4", "mkv", "ts"])
def film(request: pytest.FixtureRequest, folder: Path) -> Path:
    """Ten seconds with a key frame each second, frames that refer to later ones, and a burst."""
    path = folder / f"film.{request.param}"
    return render(path, count=250, b_frames=2, gop=25, sounds=[BURST])


@pytest.fixture(scope="module")
def mp4(folder: Path) -> Path:
    return render(folder / "one.mp4", count=250, b_frames=2, gop=25, sounds=[BURST])


def clip(path: Path, segment: Segment = WHOLE, most_bytes: int = 1 << 24) -> bytes:
    is_part = segment != WHOLE
    with (
        open_range(str(path), StorageOptions()) as reader,
        VideoFile(reader, DecodeLimits(), LIST_PRICES, parts=is_part) as file,
    ):
        return cut(file, segment, most_bytes)


def decoded(data: bytes, fps: float = 100) -> DecodedVideo:
    with RangeReader(lambda start, stop: data[start:stop], size=len(data), name="clip") as reader:
        return decode(reader, SamplingPlan(fps=fps, audio_rate=RATE), DecodeLimits())


def frames(data: bytes) -> list[tuple[float, int]]:
    """(time, number) of all frames, as FFmpeg plays them."""
    with av.open(io.BytesIO(data)) as container:
        return [
            (float(frame.pts * frame.time_base), number_of(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(video=0)
        ]


def packets(source: Path | io.BytesIO, kind: str = "video") -> list[bytes]:
    with av.open(str(source) if isinstance(source, Path) else source) as container:
        stream: Any = getattr(container.streams, kind)[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def is_copy(data: bytes, path: Path, kind: str = "video") -> bool:
    """Whether each packet of a clip is one of the file."""
    return set(packets(io.BytesIO(data), kind)) <= set(packets(path, kind))


def seconds(data: bytes) -> float:
    with av.open(io.BytesIO(data)) as container:
        assert container.duration is not None
        return container.duration / av.time_base


@pytest.mark.parametrize(
    ("begin", "end", "numbers"),
    [
        (1, 3, range(25, 75)),
        (1.2, 3.04, range(30, 76)),
        (3.48, 3.6, range(87, 90)),
        (9, None, range(225, 250)),
        (2.999, 3.101, range(75, 78)),
    ],
)
def test_a_clip_has_the_frames_and_the_sound_of_its_segment(
    film: Path, begin: float, end: float | None, numbers: Sequence[int]
) -> None:
    data = clip(film, Segment(begin, end))
    shown = frames(data)
    assert [number for _, number in shown] == [*numbers]
    # Frames are due every 0.04 s, counted from the first one that is due in the segment.
    due = [max(0.0, number / 25 - begin) for number in numbers]
    np.testing.assert_allclose([time for time, _ in shown], due, atol=0.0015)
    length = (10 if end is None else end) - begin
    assert seconds(data) == pytest.approx(length, abs=0.002)
    video = decoded(data)
    assert video.warnings == ()
    assert video.audio is not None
    first, last = (min(max(time - begin, 0), length) for time in (3, 3.1))
    for start, stop, is_loud in ((0, first, False), (first, last, True), (last, length, False)):
        if stop - start > 0.02:
            assert (loudness(video.audio, RATE, start + 0.005, stop - 0.005) > 0.2) == is_loud
    # What the codec adds to fill its last frame is silence.
    assert loudness(video.audio, RATE, length + 0.002, length + 1) < 0.02


@pytest.mark.parametrize("end", [3, 5, None])
def test_between_key_frames_the_picture_is_copied(mp4: Path, end: float | None) -> None:
    assert is_copy(clip(mp4, Segment(1, end)), mp4)


def test_a_picture_is_copied_up_to_where_nothing_later_is_needed(folder: Path) -> None:
    path = render(folder / "forward.mp4", count=100, b_frames=0, gop=25)
    data = clip(path, Segment(1, 2.6))
    assert is_copy(data, path)
    assert [number for _, number in frames(data)] == [*range(25, 65)]


@pytest.mark.parametrize(("begin", "end"), [(1.2, 3), (1.02, 3), (1, 2.84)])
def test_elsewhere_it_is_encoded_anew(mp4: Path, begin: float, end: float) -> None:
    data = clip(mp4, Segment(begin, end))
    assert not is_copy(data, mp4)
    last = [number for _, number in frames(data)][-1]
    assert last == round(end * 25) - 1


@pytest.mark.parametrize("name", ["one.mp4", "two.mkv"])
def test_a_whole_file_is_copied_with_its_sound(folder: Path, name: str) -> None:
    path = render(folder / name, count=250, b_frames=2, gop=25, sounds=[BURST])
    data = clip(path)
    for kind in ("video", "audio"):
        assert packets(io.BytesIO(data), kind) == packets(path, kind)
    video = decoded(data)
    assert video.audio is not None
    loud = np.flatnonzero(abs(video.audio) > 0.2) / RATE
    assert (loud[0], loud[-1]) == pytest.approx((3, 3.1), abs=0.003)
    assert numbers_of(video.frames) == [*range(250)]


def test_a_codec_that_mp4_does_not_hold_is_encoded_anew(folder: Path) -> None:
    sound = Sound(seconds=2, bursts=[(1, 1.5)], codec="libmp3lame")
    path = render(folder / "old.mkv", count=50, codec="mpeg4", sounds=[sound])
    data = clip(path)
    with av.open(io.BytesIO(data)) as container:
        names = [stream.codec_context.name for stream in container.streams]
    assert names == ["h264", "aac"]
    assert [number for _, number in frames(data)] == [*range(50)]
    audio = decoded(data).audio
    assert audio is not None
    loud = np.flatnonzero(abs(audio) > 0.2) / RATE
    assert (loud[0], loud[-1]) == pytest.approx((1, 1.5), abs=0.01)


def test_sound_that_mp4_does_not_hold_leaves_the_picture_alone(folder: Path) -> None:
    sound = Sound(seconds=2, codec="pcm_s16le", layout="stereo")
    path = render(folder / "pcm.mkv", count=50, sounds=[sound])
    data = clip(path)
    assert is_copy(data, path)
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"


def test_uneven_frames_keep_their_times(folder: Path) -> None:
    times = [0, 0.1, 0.5, 0.55, 2, 2.1]
    path = render(folder / "uneven.mp4", times=times, count=6, gop=1)
    anew, copied = clip(path, Segment(0.3, 1)), clip(path, Segment(0.5, 1.5))
    assert [number for _, number in frames(anew)] == [1, 2, 3]
    assert [time for time, _ in frames(anew)] == pytest.approx([0, 0.2, 0.25], abs=1e-4)
    assert is_copy(copied, path)
    assert [number for _, number in frames(copied)] == [2, 3]
    assert (seconds(anew), seconds(copied)) == pytest.approx((0.7, 1.0), abs=1e-3)


@pytest.mark.parametrize("start", [0.0, 600.0])
def test_the_second_of_two_joined_recordings(folder: Path, start: float) -> None:
    """Its clock begins again, or far ahead; the burst is 1 s after its first frame."""
    parts = [
        render(
            folder / f"{first}-{at}.ts", count=100, start=at, image=lambda n: numbered(n + first),  # noqa: B023
            sounds=[Sound(seconds=4, start=at, bursts=[(1, 2)])],
        )
        for first, at in ((0, 0.0), (100, start))
    ]  # fmt: skip
    path = folder / f"joined-{start}.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    segment = Segment(4.6, 6.4)
    data = clip(path, segment)
    assert [number for _, number in frames(data)] == [*range(115, 160)]
    with open_range(str(path), StorageOptions()) as reader:
        shown = decode(
            reader, SamplingPlan(fps=5, audio_rate=RATE), DecodeLimits(), segment=segment
        )
    for audio in (decoded(data).audio, shown.audio):
        assert audio is not None
        loud = np.flatnonzero(abs(audio) > 0.2) / RATE
        assert (loud[0], loud[-1]) == pytest.approx((0.4, 1.4), abs=0.03)


def test_a_turned_picture_stays_upright(folder: Path) -> None:
    plain = render(folder / "plain.mp4", count=50, gop=25)
    path = folder / "turned.mp4"
    path.write_bytes(turned(plain.read_bytes()))
    for segment in (WHOLE, Segment(1, 2), Segment(0.2, 0.8)):
        video = decoded(clip(path, segment))
        assert video.frames.shape[1:3] == (96, 64)
        number = round(25 * segment.begin)
        assert number_of(np.rot90(video.frames[0], 1)) == number


def turned(data: bytes) -> bytes:
    """An MP4 whose picture is to be turned by 90 degrees, in the matrix of its track."""
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = (0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    told = b"".join(each.to_bytes(4, "big", signed=True) for each in matrix)
    return data[:at] + told + data[at + len(told) :]


def test_odd_sizes_and_colours_are_encoded(folder: Path) -> None:
    path = render(folder / "odd.mkv", count=50, width=97, height=65, pix_fmt="yuv444p")
    data = clip(path, Segment(0.2, 1))
    assert [number for _, number in frames(data)] == [*range(5, 25)]
    with av.open(io.BytesIO(data)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height, video.codec_context.pix_fmt) == (96, 64, "yuv420p")


def test_colours_stay_what_they_are(folder: Path) -> None:
    path = render(
        folder / "red.mp4", count=25, image=lambda _: np.full((64, 96, 3), (200, 40, 60), np.uint8)
    )
    given = decoded(path.read_bytes()).frames[5].mean(axis=(0, 1))
    made = decoded(clip(path, Segment(0.2, 0.8))).frames[0].mean(axis=(0, 1))
    np.testing.assert_allclose(made, given, atol=3)


def test_sound_alone(folder: Path) -> None:
    path = render(folder / "sound.m4a", codec=None, sounds=[Sound(seconds=3, bursts=[(1, 2)])])
    assert packets(io.BytesIO(clip(path)), "audio") == packets(path, "audio")
    data = clip(path, Segment(0.5, 1.5))
    assert seconds(data) == pytest.approx(1, abs=0.001)
    with av.open(io.BytesIO(data)) as container:
        played = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    loud = np.flatnonzero(abs(played) > 0.2) / 44_100
    assert (loud[0], loud[-1]) == pytest.approx((0.5, 1), abs=0.005)


@pytest.mark.parametrize("segment", [WHOLE, Segment(1, 3), Segment(1.2, 3)])
def test_a_clip_that_is_too_large(mp4: Path, segment: Segment) -> None:
    with pytest.raises(MediaLimitError, match=r"larger than 0\.003 MB"):
        clip(mp4, segment, most_bytes=3000)


def test_what_is_not_there(mp4: Path, folder: Path) -> None:
    with pytest.raises(SegmentError, match="the video ends"):
        clip(mp4, Segment(20, 30))
    text = folder / "text.mp4"
    text.write_text("no video " * 100)
    with pytest.raises(NotAVideoError):
        clip(text)
