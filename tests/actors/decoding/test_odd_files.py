"""Files as they are found outside: joined, packed, refreshed, of several programs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import pytest
from av.stream import Disposition

from actors.decoding.decoder import decode
from actors.storage.access import open_range
from schemas.errors import NotAVideoError, UnsupportedCodecError
from schemas.media import DecodedVideo, DecodeLimits, SamplingPlan, StorageOptions
from tests.actors.decoding.bitstreams import (
    channels_in_disorder,
    cropped,
    field_pairs,
    packed_b_frames,
    programs,
)
from tests.actors.decoding.test_decoder import SOUND, expected, load
from tests.support.media import Image, Sound, numbered, numbers_of, render

JOINED = "the clock jumps, as in joined recordings; the parts follow each other"


def bursts_of(video: DecodedVideo) -> list[float]:
    """When the bursts of a sound begin and end, in seconds."""
    assert video.audio is not None
    loud = np.flatnonzero(np.abs(video.audio) > 0.1) / SOUND
    gaps = np.flatnonzero(np.diff(loud) > 0.1)
    return np.stack([loud[[0, *(gaps + 1)]], loud[[*gaps, -1]]], axis=1).ravel().tolist()


def tone_of(video: DecodedVideo) -> float:
    """The loudest frequency of a sound, in Hz."""
    assert video.audio is not None
    return float(np.abs(np.fft.rfft(video.audio)).argmax() * SOUND / len(video.audio))


def recording(path: Path, *, first: int, start: float, **options: str) -> Path:
    """Four seconds of a recording, with a burst in their second one."""
    return render(
        path, count=100, b_frames=2, start=start, container_options=options,
        image=lambda number: numbered(first + number),
        sounds=[Sound(seconds=4, start=start, bursts=[(1.0, 2.0)], rate=48_000)],
    )  # fmt: skip


@pytest.mark.parametrize("jumps", [(0.0,), (34.0,), (2.0,), (600.0, 0.0), (0.0, 0.0, 90_000.0)])
def test_joined_recordings_follow_each_other(tmp_path: Path, jumps: tuple[float, ...]) -> None:
    data = b"".join(
        recording(tmp_path / f"{at}.ts", first=100 * at, start=start).read_bytes()
        for at, start in enumerate((0.0, *jumps))
    )
    path = tmp_path / "joined.ts"
    path.write_bytes(data)
    count = 100 * (len(jumps) + 1)
    video = load(path, num_frames=12, audio_rate=SOUND)
    assert np.abs(np.array(numbers_of(video.frames)) - expected(count, 12)).max() <= 1
    assert video.info.duration_sec == pytest.approx(count / 25, abs=0.05)
    told = [4 * part + end for part in range(len(jumps) + 1) for end in (1.0, 2.0)]
    assert bursts_of(video) == pytest.approx(told, abs=0.03)
    assert JOINED in video.warnings
    assert not any("gaps or overlaps" in warning for warning in video.warnings)
    # One with the other, and the picture alone, have the same clock.
    assert numbers_of(load(path, num_frames=12).frames) == numbers_of(video.frames)


def test_a_recording_in_one_piece_has_no_warning(tmp_path: Path) -> None:
    video = load(recording(tmp_path / "a.ts", first=0, start=5), num_frames=8, audio_rate=SOUND)
    assert video.warnings == ()
    assert bursts_of(video) == pytest.approx([1.0, 2.0], abs=0.03)


def test_a_still_beside_sound_is_no_join(tmp_path: Path) -> None:
    times = [*(n / 25 for n in range(25)), *(9 + n / 25 for n in range(25))]
    path = render(tmp_path / "a.ts", count=50, times=times, sounds=[Sound(seconds=10)])
    video = load(path, fps=1.0, audio_rate=SOUND)
    assert video.info.duration_sec == pytest.approx(10, abs=0.1)
    assert numbers_of(video.frames)[:9] == [0, *[24] * 8]
    assert JOINED not in video.warnings


def test_streams_that_begin_later_are_left_out_with_a_warning(tmp_path: Path) -> None:
    parts = (
        recording(tmp_path / "a.ts", first=0, start=0.0),
        recording(tmp_path / "b.ts", first=100, start=4.0, mpegts_start_pid="512",
                  mpegts_pmt_start_pid="4352"),
    )  # fmt: skip
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    for plan in ({"num_frames": 5}, {"num_frames": 5, "audio_rate": SOUND}):
        video = load(path, **plan)
        assert numbers_of(video.frames) == expected(100, 5)
        assert "streams that begin in the middle of the file were left out" in video.warnings


@pytest.mark.parametrize("wanted", [6, 20, 60])
def test_fields_are_counted_as_the_frames_they_belong_to(tmp_path: Path, wanted: int) -> None:
    video = load(field_pairs(tmp_path / "a.ts", count=40), num_frames=wanted)
    numbers = expected(40, wanted) if wanted < 40 else list(range(40))
    assert numbers_of(video.frames) == numbers
    assert video.info.duration_sec == pytest.approx(1.6)
    assert video.info.fps == pytest.approx(25)


@pytest.mark.parametrize("wanted", [5, 32])
def test_packed_b_frames(tmp_path: Path, wanted: int) -> None:
    video = load(packed_b_frames(tmp_path / "a.avi", count=201, gop=24), num_frames=wanted)
    due = np.round(video.timestamps * 25)
    assert np.abs(np.array(numbers_of(video.frames)) - due).max() <= 1
    assert len(video.frames) == wanted


@pytest.mark.parametrize("b_frames", [0, 3])
def test_b_frames_in_avi(tmp_path: Path, b_frames: int) -> None:
    path = render(
        tmp_path / "a.avi", count=150, b_frames=b_frames, gop=25,
        sounds=[Sound(seconds=6, codec="pcm_s16le", bursts=[(3.0, 3.5)])],
    )  # fmt: skip
    video = load(path, num_frames=20, audio_rate=SOUND)
    assert numbers_of(video.frames) == expected(150, 20)
    assert bursts_of(video) == pytest.approx([3.0, 3.5], abs=0.01)
    assert video.warnings == ()


@pytest.mark.parametrize("extension", ["mkv", "mp4", "ts"])
def test_a_refreshed_picture_has_no_key_frames(tmp_path: Path, extension: str) -> None:
    path = render(
        tmp_path / f"a.{extension}", count=400, width=640, height=96, gop=100,
        codec_options={"x264-params": "intra-refresh=1:scenecut=0", "preset": "veryfast"},
    )  # fmt: skip
    video = load(path, num_frames=32)
    assert numbers_of(video.frames) == expected(400, 32)


def test_channels_in_an_order_of_their_own(tmp_path: Path) -> None:
    sound = Sound(seconds=1, codec="pcm_s16le", layout="5.1", rate=8_000, bursts=[(0.5, 1.0)])
    path = channels_in_disorder(tmp_path / "a.mov", labels=(3, 1, 2, 5, 6, 4), sound=sound)
    # More than once: what is freed twice shows later.
    for _ in range(3):
        video = load(path, num_frames=5, audio_rate=SOUND)
        assert numbers_of(video.frames) == expected(25, 5)
        assert bursts_of(video) == pytest.approx([0.5, 1.0], abs=0.01)


@pytest.mark.parametrize(
    ("layout", "codec", "options", "channels"),
    [
        ("ambisonic 1", "libopus", {"mapping_family": "2"}, 4),
        ("9C", "pcm_s16le", {}, 9),
        ("3C", "pcm_s16le", {}, 3),
    ],
)
def test_channels_without_places_are_mixed_evenly(
    tmp_path: Path, layout: str, codec: str, options: dict[str, str], channels: int
) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        track: Any = output.add_stream(codec, rate=48_000, options=options)
        track.layout = layout
        wave = Sound(seconds=1, rate=48_000, bursts=[(0.5, 1.0)]).samples()
        samples = np.zeros((channels, len(wave)), np.float32)
        samples[-1] = wave
        if codec == "pcm_s16le":
            samples = (samples.T.reshape(1, -1) * 32767).astype(np.int16)
        shape = "fltp" if codec == "libopus" else "s16"
        frame = av.AudioFrame.from_ndarray(samples, format=shape, layout=layout)
        frame.sample_rate, frame.pts = 48_000, 0
        output.mux(track.encode(frame))
        output.mux(track.encode(None))
    video = load(path, num_frames=2, audio_rate=SOUND)
    assert video.info.has_audio
    assert video.audio is not None
    assert np.abs(video.audio).max() == pytest.approx(0.5 / channels, rel=0.25)


@pytest.mark.parametrize("large", [0, 1])
def test_picture_and_sound_are_of_one_program(tmp_path: Path, large: int) -> None:
    sources = [
        render(
            tmp_path / f"{number}.ts", count=50, width=192 if number == large else 96,
            image=lambda n, number=number: numbered(
                n + 1000 * number, width=192 if number == large else 96
            ),
            sounds=[Sound(seconds=2, tone=(300.0, 2000.0)[number], rate=48_000)],
            container_options={
                "mpegts_start_pid": str(256 * (number + 1)), "mpegts_service_id": str(number + 1),
                "mpegts_pmt_start_pid": str(4096 + 256 * number),
            },
        )
        for number in range(2)
    ]  # fmt: skip
    video = load(programs(tmp_path / "both.ts", *sources), num_frames=3, audio_rate=SOUND)
    assert numbers_of(video.frames)[0] == 1000 * large
    assert tone_of(video) == pytest.approx((300, 2000)[large], abs=10)


@pytest.mark.parametrize("extension", ["mkv", "mov"])
def test_a_preview_is_not_the_film(tmp_path: Path, extension: str) -> None:
    film = render(tmp_path / "film.mp4", count=300, b_frames=2)
    path = tmp_path / f"both.{extension}"
    with av.open(str(film)) as opened, av.open(str(path), "w") as output:
        preview: Any = output.add_stream("mjpeg", rate=25)
        preview.width, preview.height, preview.pix_fmt = 192, 128, "yuvj420p"
        preview.disposition = Disposition.default
        stream = output.add_stream_from_template(opened.streams.video[0])
        stream.disposition = Disposition(0)
        picture = av.VideoFrame.from_ndarray(numbered(7, width=192, height=128), format="rgb24")
        picture.pts = 0
        output.mux(preview.encode(picture))
        output.mux(preview.encode(None))
        for packet in opened.demux(opened.streams.video[0]):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    video = load(path, num_frames=9)
    assert numbers_of(video.frames) == expected(300, 9)


def test_edges_that_the_container_cuts_off_are_not_shown(tmp_path: Path) -> None:
    def framed(number: int) -> Image:
        return np.pad(numbered(number), ((0, 16), (32, 0), (0, 0)), constant_values=255)

    source = render(tmp_path / "a.mkv", count=50, width=128, height=80, image=framed)
    video = load(cropped(tmp_path / "b.mkv", left=32, bottom=16, source=source), num_frames=5)
    assert (video.info.width, video.info.height) == (96, 64)
    assert numbers_of(video.frames) == expected(50, 5)
    assert video.frames[:, :, 0].mean() < 160
    assert load(source, num_frames=5).info.width == 128


def test_animated_webp_is_refused_with_its_name(tmp_path: Path) -> None:
    images = [PIL.Image.fromarray(numbered(number)) for number in range(4)]
    path = tmp_path / "a.webp"
    images[0].save(path, save_all=True, append_images=images[1:], duration=100)
    with pytest.raises(UnsupportedCodecError, match="animated WebP"):
        load(path, num_frames=4)
    images[0].save(path)
    assert numbers_of(load(path, num_frames=4).frames) == [0]


def test_a_reason_is_of_the_file_at_hand(tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    data = render(tmp_path / "good.mp4", count=20).read_bytes()
    bad.write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(NotAVideoError, match="moov"):
        load(bad, num_frames=2)
    video = load(render(tmp_path / "a.mkv", count=20), num_frames=2)
    assert video.warnings == ()


def test_lost_packets_of_a_recording_are_told(tmp_path: Path) -> None:
    data = recording(tmp_path / "a.ts", first=0, start=0.0).read_bytes()
    middle = len(data) // 188 // 2 * 188
    path = tmp_path / "lost.ts"
    path.write_bytes(data[:middle] + data[middle + 60 * 188 :])
    assert load(path, num_frames=8, audio_rate=SOUND).warnings


def test_every_plan_agrees_on_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "joined.ts"
    parts = [recording(tmp_path / f"{n}.ts", first=100 * n, start=0.0) for n in range(2)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_range(str(path), StorageOptions()) as reader:
        every = decode(reader, SamplingPlan(num_frames=500), DecodeLimits())
    assert numbers_of(every.frames) == list(range(200))
    assert np.diff(every.timestamps) == pytest.approx(np.full(199, 0.04), abs=0.002)
    pairs = itertools.pairwise(numbers_of(load(path, fps=5).frames))
    assert {after - before for before, after in pairs} == {5}
