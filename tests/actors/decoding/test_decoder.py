"""Which frames and which sound come out of good clips, however they are stored."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from actors.decoding.decoder import decode
from actors.decoding.sound import SoundTrack
from actors.storage.access import open_range
from schemas.errors import MediaLimitError, NoMediaStreamError
from schemas.media import DecodedVideo, DecodeLimits, SamplingPlan, StorageOptions
from tests.support.media import Sound, number_of, numbered, numbers_of, render

LIMITS = DecodeLimits()
SOUND = 16_000


def load(path: Path, *, limits: DecodeLimits = LIMITS, **plan: float) -> DecodedVideo:
    with open_range(str(path), StorageOptions()) as reader:
        return decode(reader, SamplingPlan.model_validate(plan), limits)


def expected(count: int, wanted: int) -> list[int]:
    """Frames of an even clip: the last one that is not later than each moment."""
    return [int(moment + 1e-6) for moment in np.linspace(0, count - 1, wanted)]


@pytest.mark.parametrize(
    ("extension", "b_frames"),
    [
        *itertools.product(["mp4", "mkv", "mov", "ts", "flv"], [0, 3]),
        ("avi", 0),
        ("webm", 0),
    ],
)
def test_frames_are_the_ones_shown_at_even_moments(
    tmp_path: Path, extension: str, b_frames: int
) -> None:
    codec = {"webm": "libvpx", "avi": "mpeg4"}.get(extension, "libx264")
    path = render(tmp_path / f"clip.{extension}", count=60, codec=codec, b_frames=b_frames)
    clip = load(path, num_frames=7)
    assert numbers_of(clip.frames) == expected(60, 7)
    assert clip.timestamps == pytest.approx(np.linspace(0, 59 / 25, 7), abs=0.002)
    assert clip.info.duration_sec == pytest.approx(2.4, abs=0.01)
    assert clip.info.fps == pytest.approx(25, rel=0.01)
    assert not clip.info.has_audio
    assert clip.audio is None


@pytest.mark.parametrize("wanted", [1, 2, 5, 49, 50, 51, 200])
def test_a_short_clip_gives_every_frame_once(tmp_path: Path, wanted: int) -> None:
    clip = load(render(tmp_path / "clip.mp4", count=50, b_frames=2), num_frames=wanted)
    frames = expected(50, wanted) if wanted <= 50 else list(range(50))
    assert numbers_of(clip.frames) == frames


def test_one_frame(tmp_path: Path) -> None:
    clip = load(render(tmp_path / "clip.mp4", count=1), num_frames=32)
    assert numbers_of(clip.frames) == [0]
    assert clip.timestamps.tolist() == [0.0]


@pytest.mark.parametrize(("fps", "frames"), [(1, [0, 25]), (2.5, [0, 10, 20, 30, 40])])
def test_frames_at_a_rate(tmp_path: Path, fps: float, frames: list[int]) -> None:
    clip = load(render(tmp_path / "clip.mp4", count=50), fps=fps)
    assert numbers_of(clip.frames) == frames
    assert clip.timestamps == pytest.approx(np.arange(len(frames)) / fps)


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
@pytest.mark.parametrize("rate", [24000 / 1001, 30000 / 1001])
def test_times_are_the_moments_not_the_frames_own(
    tmp_path: Path, extension: str, rate: float
) -> None:
    times = [number / rate for number in range(100)]
    clip = load(render(tmp_path / f"clip.{extension}", count=100, times=times), fps=1)
    own = np.array(numbers_of(clip.frames)) / rate
    assert clip.timestamps.tolist() == list(range(len(clip.frames)))
    # Up to a millisecond later where the container has no finer times.
    assert np.all((own > clip.timestamps - 1 / rate) & (own <= clip.timestamps + 0.0011))


def test_a_rate_above_the_clips_own_gives_every_frame_once(tmp_path: Path) -> None:
    clip = load(render(tmp_path / "clip.mp4", count=10), fps=100)
    assert numbers_of(clip.frames) == list(range(10))


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_variable_frame_rate_picks_by_time(tmp_path: Path, extension: str) -> None:
    # 20 frames in the first second, then one per second.
    times = [n / 20 for n in range(20)] + [float(n) for n in range(1, 11)]
    path = render(tmp_path / f"clip.{extension}", count=30, times=times, b_frames=2)
    clip = load(path, num_frames=11)
    assert numbers_of(clip.frames) == [0, *range(20, 30)]
    assert clip.timestamps == pytest.approx(np.arange(11.0), abs=0.002)


def test_a_frame_shown_at_several_moments_is_repeated_with_their_times(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.2, 0.3, 0.4, 10.0]
    clip = load(render(tmp_path / "clip.mp4", count=6, times=times), num_frames=5)
    assert numbers_of(clip.frames) == [0, 4, 4, 4, 5]
    assert np.all(np.diff(clip.timestamps) > 0)
    assert clip.timestamps[2] == pytest.approx(5.0)


def hold_last(path: Path, *, seconds: float) -> Path:
    """Copy a clip; its last frame is then shown for so long."""
    held = path.with_name(f"held{path.suffix}")
    with av.open(str(path)) as opened, av.open(str(held), "w") as output:
        stream = output.add_stream_from_template(opened.streams.video[0])
        packets = [packet for packet in opened.demux(opened.streams.video[0]) if packet.size]
        packets[-1].duration = round(seconds / packets[-1].time_base)
        for packet in packets:
            packet.stream = stream
            output.mux(packet)
    return held


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
@pytest.mark.parametrize("count", [1, 20])
def test_a_last_frame_that_is_held(tmp_path: Path, extension: str, count: int) -> None:
    path = render(tmp_path / f"clip.{extension}", count=count, rate=20)
    clip = load(hold_last(path, seconds=5), fps=1)
    length = (count - 1) / 20 + 5
    assert clip.info.duration_sec == pytest.approx(length, abs=0.01)
    assert clip.warnings == ()
    assert np.all(np.diff(clip.timestamps) > 0)
    if count > 1:
        assert numbers_of(clip.frames) == [0, 19, 19, 19, 19, 19]


def test_a_gif_whose_last_frame_is_held(tmp_path: Path) -> None:
    images = [Image.fromarray(numbered(number)) for number in range(11)]
    path = tmp_path / "clip.gif"
    images[0].save(path, save_all=True, append_images=images[1:], duration=[100] * 10 + [3000])
    clip = load(path, num_frames=16)
    assert numbers_of(clip.frames) == list(range(11))
    assert clip.info.duration_sec == pytest.approx(4.0)
    assert clip.warnings == ()
    assert numbers_of(load(path, fps=1).frames) == [0, 10, 10, 10]


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_slides_with_sound(tmp_path: Path, extension: str, b_frames: int) -> None:
    path = render(
        tmp_path / f"clip.{extension}",
        count=5,
        times=[0.0, 5.0, 10.0, 10.1, 10.2],
        b_frames=b_frames,
        sounds=[Sound(seconds=14)],
    )
    for plan in ({"num_frames": 16}, {"num_frames": 16, "audio_rate": SOUND}):
        clip = load(path, **plan)
        assert numbers_of(clip.frames) == [0, 1, 2, 3, 4]
        assert clip.info.duration_sec == pytest.approx(14.0, abs=0.1)
        assert clip.warnings == ()


def test_seeking_gives_the_same_frames_as_decoding_everything(tmp_path: Path) -> None:
    path = render(tmp_path / "clip.mp4", count=1000, gop=50, b_frames=3, rate=50)
    clip = load(path, num_frames=9)
    assert numbers_of(clip.frames) == expected(1000, 9)


def test_open_gops(tmp_path: Path) -> None:
    path = render(
        tmp_path / "clip.mp4",
        count=300,
        gop=20,
        b_frames=3,
        codec_options={"x264-params": "open-gop=1:b-adapt=0:scenecut=0"},
    )
    for wanted in (4, 11, 40):
        assert numbers_of(load(path, num_frames=wanted).frames) == expected(300, wanted)


@pytest.mark.parametrize("extension", ["mp4", "mkv", "ts", "mov"])
def test_sound_is_16_khz_mono_from_time_0_of_the_picture(tmp_path: Path, extension: str) -> None:
    sound = Sound(seconds=3.0, bursts=[(1.0, 2.0)], layout="stereo", rate=48_000)
    path = render(tmp_path / f"clip.{extension}", count=75, sounds=[sound])
    clip = load(path, num_frames=4, audio_rate=SOUND)
    assert clip.audio is not None
    assert clip.audio.dtype == np.float32
    assert clip.audio_rate == SOUND
    assert len(clip.audio) / SOUND == pytest.approx(3.0, abs=0.06)
    burst = np.flatnonzero(np.abs(clip.audio) > 0.1) / SOUND
    assert burst[0] == pytest.approx(1.0, abs=0.03)
    assert burst[-1] == pytest.approx(2.0, abs=0.03)
    assert np.abs(clip.audio).max() == pytest.approx(0.5, abs=0.15)
    assert clip.info.has_audio


def test_sound_is_not_spread_out_before_its_length_is_checked() -> None:
    """Two packets an hour apart: no header announces the silence between them."""

    def check(seconds: float) -> None:
        assert 3600 <= seconds < 3602
        raise MediaLimitError("too long")

    track = SoundTrack(rate=SOUND, start=0.0, seconds=1.0, check=check, warn=lambda _: None)

    def add(seconds: int) -> None:
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.time_base = SOUND, Fraction(1, SOUND)
        frame.pts = seconds * SOUND
        track.add(frame)

    add(0)
    add(3600)
    with pytest.raises(MediaLimitError, match="too long"):
        track.finish(0.0)


@pytest.mark.parametrize(
    ("layout", "weights"),
    [
        ("stereo", [0.5, 0.5]),
        ("5.1", [0.207, 0.207, 0.293, 0.0, 0.146, 0.146]),
    ],
)
def test_weights_of_channels(layout: str, weights: list[float]) -> None:
    for channel, weight in enumerate(weights):
        wave = np.zeros((len(weights), 4_000), np.float32)
        wave[channel] = 0.5
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout=layout)
        frame.sample_rate = SOUND
        track = SoundTrack(rate=SOUND, start=0.0, seconds=0.25, check=pytest.fail, warn=pytest.fail)
        track.add(frame)
        samples = track.finish(0.0)
        assert samples is not None
        assert samples[2_000] == pytest.approx(0.5 * weight, abs=0.001)


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
@pytest.mark.parametrize("start", [-0.5, 0.5])
def test_sound_that_starts_early_or_late(tmp_path: Path, extension: str, start: float) -> None:
    offset = max(0.0, -start)
    times = [offset + number / 25 for number in range(50)]
    sound = Sound(seconds=2.5, start=max(0.0, start), bursts=[(1.0, 1.5)])
    path = render(tmp_path / f"clip.{extension}", count=50, times=times, sounds=[sound])
    clip = load(path, num_frames=4, audio_rate=SOUND)
    assert clip.audio is not None
    burst = np.flatnonzero(np.abs(clip.audio) > 0.1) / SOUND
    assert burst[0] == pytest.approx(1.0 + start, abs=0.04)
    assert number_of(clip.frames[0]) == 0
    assert clip.timestamps[0] == 0.0


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_a_gap_in_the_sound_becomes_silence(tmp_path: Path, extension: str) -> None:
    sound = Sound(seconds=3.0, gap=(1.0, 2.0), codec="pcm_s16le" if extension == "mkv" else "aac")
    path = render(tmp_path / f"clip.{extension}", count=75, sounds=[sound])
    clip = load(path, num_frames=4, audio_rate=SOUND)
    assert clip.audio is not None
    assert len(clip.audio) / SOUND == pytest.approx(3.0, abs=0.1)
    assert np.abs(clip.audio[int(1.2 * SOUND) : int(1.8 * SOUND)]).max() < 0.02
    assert np.abs(clip.audio[int(2.2 * SOUND) :]).max() > 0.3


def test_sound_alone_is_nothing_for_a_plan_without_sound(tmp_path: Path) -> None:
    path = render(tmp_path / "clip.m4a", codec=None, sounds=[Sound(seconds=2)])
    with pytest.raises(NoMediaStreamError, match="no picture, and the plan takes no sound"):
        load(path, num_frames=16)


def test_no_audio_rate_leaves_the_sound_alone(tmp_path: Path) -> None:
    clip = load(render(tmp_path / "clip.mp4", sounds=[Sound(seconds=2)]), num_frames=4)
    assert clip.audio is None
    assert clip.audio_rate == 0
    assert clip.info.has_audio


@pytest.mark.parametrize("name", ["clip.m4a", "clip.mp3", "clip.wav"])
def test_audio_only(tmp_path: Path, name: str) -> None:
    codec = {"m4a": "aac", "mp3": "libmp3lame", "wav": "pcm_s16le"}[name.split(".")[1]]
    path = render(tmp_path / name, codec=None, sounds=[Sound(seconds=2, codec=codec)])
    clip = load(path, num_frames=4, audio_rate=SOUND)
    assert clip.frames.shape[0] == 0
    assert clip.audio is not None
    assert len(clip.audio) / SOUND == pytest.approx(2.0, abs=0.1)
    assert not clip.info.has_video
    assert clip.info.duration_sec == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_sound_track_is_taken(tmp_path: Path, default: int) -> None:
    tracks = [Sound(seconds=2, tone=tone, default=number == default)
              for number, tone in enumerate((300.0, 2000.0))]  # fmt: skip
    clip = load(render(tmp_path / "clip.mkv", sounds=tracks), num_frames=2, audio_rate=SOUND)
    assert clip.audio is not None
    spectrum = np.abs(np.fft.rfft(clip.audio[:SOUND]))
    assert np.argmax(spectrum) == pytest.approx((300, 2000)[default], abs=10)


Build = Callable[[Path], Path]


def test_frames_at_parts_of_the_way_to_the_last(tmp_path: Path) -> None:
    """As SkyCaptioner samples, but for the frame shown at each moment, where its script rounds."""
    clip = load(render(tmp_path / "clip.mp4", count=60), num_frames=16, include_last=False)
    assert numbers_of(clip.frames) == [int(i * 59 / 16 + 1e-6) for i in range(16)]
    assert clip.timestamps == pytest.approx([i * 59 / 25 / 16 for i in range(16)], abs=0.002)


def test_a_plan_of_sound_alone(tmp_path: Path) -> None:
    """No frame is decoded, and the facts about the picture are there all the same."""
    path = render(tmp_path / "clip.mp4", count=50, sounds=[Sound(seconds=2.0)])
    clip = load(path, num_frames=0, audio_rate=SOUND)
    assert clip.num_frames == 0 and clip.frames.shape == (0, 0, 0, 3)
    assert clip.audio is not None and len(clip.audio) == pytest.approx(2 * SOUND, rel=0.05)
    assert clip.info.has_video and clip.info.fps == pytest.approx(25, rel=0.01)
    assert clip.info.duration_sec == pytest.approx(2.0, abs=0.1)
    silent = render(tmp_path / "silent.mp4", count=50)
    with pytest.raises(NoMediaStreamError, match="no sound, and the plan takes no picture"):
        load(silent, num_frames=0, audio_rate=SOUND)
    with pytest.raises(ValueError, match="without frames takes the sound"):
        SamplingPlan(num_frames=0)
