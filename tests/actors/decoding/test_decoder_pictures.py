"""Frames come out upright, with square pixels, in true colours and the right size."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from actors.decoding.sampling import fit_size
from schemas.media import DecodedVideo
from tests.actors.decoding.test_decoder import expected, load
from tests.support.media import Image, Sound, number_of, numbers_of, render

RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 180, 20), (20, 20, 220), (235, 235, 235)


def corners(_number: int = 0, *, width: int = 96, height: int = 64) -> Image:
    """Red top left, green top right, blue bottom left, white bottom right."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[: height // 2, : width // 2] = RED
    image[: height // 2, width // 2 :] = GREEN
    image[height // 2 :, : width // 2] = BLUE
    image[height // 2 :, width // 2 :] = WHITE
    return image


def corner_names(clip: DecodedVideo) -> list[str]:
    """Names of the corners: top left, top right, bottom left, bottom right."""
    image = clip.frames[0].astype(int)
    height, width = image.shape[:2]
    names = {"red": RED, "green": GREEN, "blue": BLUE, "white": WHITE}
    found = []
    for y in (height // 4, height * 3 // 4):
        for x in (width // 4, width * 3 // 4):
            pixel = image[y - 2 : y + 2, x - 2 : x + 2].mean(axis=(0, 1))
            found.append(min(names, key=lambda name: np.abs(pixel - names[name]).sum()))
    return found


def assert_colours(clip: DecodedVideo, *, within: float = 14.0) -> None:
    image = clip.frames[0].astype(float)
    height, width = image.shape[:2]
    for (y, x), colour in zip(
        [(0, 0), (0, 1), (1, 0), (1, 1)], (RED, GREEN, BLUE, WHITE), strict=True
    ):
        top, left = height * (1 + 2 * y) // 4, width * (1 + 2 * x) // 4
        pixel = image[top - 3 : top + 3, left - 3 : left + 3].mean(axis=(0, 1))
        assert np.abs(pixel - colour).max() < within, (y, x, pixel, colour)


@pytest.mark.parametrize(
    ("degrees", "names"),
    [
        (0, ["red", "green", "blue", "white"]),
        (90, ["blue", "red", "white", "green"]),
        (180, ["white", "blue", "green", "red"]),
        (270, ["green", "white", "red", "blue"]),
    ],
)
def test_rotation_is_applied(tmp_path: Path, degrees: int, names: list[str]) -> None:
    # FFmpeg counts counterclockwise.
    path = render(
        tmp_path / "clip.mp4",
        count=3,
        image=corners,
        configure=lambda stream: stream.set_display_rotation(-degrees),
    )
    clip = load(path, num_frames=2)
    assert corner_names(clip) == names
    assert clip.info.rotation == degrees
    upright = (96, 64) if degrees in (0, 180) else (64, 96)
    assert (clip.info.width, clip.info.height) == upright
    assert clip.frames.shape[1:] == (upright[1], upright[0], 3)


@pytest.mark.parametrize(
    ("flips", "names"),
    [
        ({"hflip": True}, ["green", "red", "white", "blue"]),
        ({"vflip": True}, ["blue", "white", "red", "green"]),
    ],
)
def test_mirroring_is_applied(tmp_path: Path, flips: dict[str, bool], names: list[str]) -> None:
    path = render(
        tmp_path / "clip.mp4",
        count=2,
        image=corners,
        configure=lambda stream: stream.set_display_rotation(0, **flips),
    )
    assert corner_names(load(path, num_frames=1)) == names


def _colour(stream: VideoStream, space: int, full: bool) -> None:
    stream.codec_context.colorspace = space
    stream.codec_context.color_range = 2 if full else 1


def _convert(space: str, full: bool, pix_fmt: str) -> Any:
    def convert(frame: av.VideoFrame) -> av.VideoFrame:
        out = frame.reformat(
            format=pix_fmt, dst_colorspace=space, dst_color_range="JPEG" if full else "MPEG"
        )
        out.pts, out.time_base = frame.pts, frame.time_base
        return out

    return convert


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv444p", "yuv422p10le"])
@pytest.mark.parametrize(("space", "number"), [("ITU601", 6), ("ITU709", 1)])
@pytest.mark.parametrize("full", [False, True])
def test_colours_survive_matrix_range_and_depth(
    tmp_path: Path, pix_fmt: str, space: str, number: int, full: bool
) -> None:
    path = render(
        tmp_path / "clip.mkv",
        count=2,
        image=corners,
        pix_fmt=pix_fmt,
        configure=lambda stream: _colour(stream, number, full),
        prepare=_convert(space, full, pix_fmt),
    )
    clip = load(path, num_frames=1)
    assert clip.frames.dtype == np.uint8
    assert_colours(clip)


@pytest.mark.parametrize(
    ("width", "height", "space"),
    [
        (640, 480, "ITU601"),
        (720, 576, "ITU601"),
        (1024, 576, "ITU601"),
        (960, 720, "ITU709"),
        (1280, 536, "ITU709"),  # a wide film without its bars
        (720, 1280, "ITU709"),
    ],
)
def test_untagged_colours_go_by_the_size(
    tmp_path: Path, width: int, height: int, space: str
) -> None:
    path = render(
        tmp_path / "clip.mkv",
        count=1,
        width=width,
        height=height,
        image=lambda number: corners(width=width, height=height),
        prepare=_convert(space, False, "yuv420p"),
        configure=lambda stream: _colour(stream, 2, False),
    )
    assert_colours(load(path, num_frames=1))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "extension"),
    [
        ("ffv1", "bgra", "mkv"),
        ("png", "rgb48be", "mov"),
        ("qtrle", "argb", "mov"),
        ("libx264rgb", "rgb24", "mkv"),
        ("libx265", "yuv420p12le", "mp4"),
        ("prores_ks", "yuva444p10le", "mov"),
        ("libvpx-vp9", "yuv420p", "webm"),
        ("mjpeg", "yuvj420p", "avi"),
    ],
)
def test_odd_pixel_formats_become_8_bit_rgb(
    tmp_path: Path, codec: str, pix_fmt: str, extension: str
) -> None:
    path = render(
        tmp_path / f"clip.{extension}", count=2, image=corners, codec=codec, pix_fmt=pix_fmt
    )
    clip = load(path, num_frames=1)
    assert clip.frames.shape == (1, 64, 96, 3)
    assert corner_names(clip) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("size", [(97, 65), (33, 17), (641, 361)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    path = render(tmp_path / "clip.mkv", count=10, width=width, height=height, pix_fmt="yuv444p")
    clip = load(path, num_frames=3)
    assert (clip.info.width, clip.info.height) == size
    assert numbers_of(clip.frames) == expected(10, 3)


def test_frames_are_scaled_once_to_the_budget(tmp_path: Path) -> None:
    path = render(tmp_path / "clip.mp4", count=4, width=640, height=360)
    clip = load(path, num_frames=2, max_pixels=100_352)
    height, width = clip.frames.shape[1:3]
    assert width * height <= 100_352
    assert width * height > 0.97 * 100_352
    assert width / height == pytest.approx(640 / 360, rel=0.01)
    assert (clip.info.width, clip.info.height) == (640, 360)
    assert numbers_of(clip.frames) == [0, 3]


def test_frames_are_stretched_where_the_plan_says_so(tmp_path: Path) -> None:
    path = render(tmp_path / "clip.mp4", count=4, width=640, height=360)
    clip = load(path, num_frames=2, stretch_to=(360, 420))
    assert clip.frames.shape == (2, 420, 360, 3)
    assert numbers_of(clip.frames) == [0, 3]


def test_small_frames_are_not_enlarged(tmp_path: Path) -> None:
    clip = load(render(tmp_path / "clip.mp4", count=2, width=48, height=32), num_frames=1)
    assert clip.frames.shape[1:3] == (32, 48)


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((1920, 1080), (422, 237)), ((100, 100), (100, 100)), ((4000, 40), (3167, 31))],
)
def test_fit_size(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fit_size(*size, 100_352) == fitted


def test_long_narrow_frames_keep_28_pixels() -> None:
    width, height = fit_size(5000, 50, 100_352)
    assert height >= 28
    assert width * height <= 100_352


def test_square_pixels(tmp_path: Path) -> None:
    path = render(
        tmp_path / "clip.mkv",
        count=2,
        width=72,
        height=96,
        configure=lambda stream: setattr(
            stream.codec_context, "sample_aspect_ratio", Fraction(2, 1)
        ),
    )
    clip = load(path, num_frames=1)
    assert (clip.info.width, clip.info.height) == (144, 96)
    assert clip.frames.shape[1:3] == (96, 144)


def test_interlaced_frames_show_one_moment(tmp_path: Path) -> None:
    # The two fields are far apart in time: a bar is on the left in one, right in the other.
    def woven(number: int) -> Image:
        image = np.full((64, 96, 3), 20, dtype=np.uint8)
        image[0::2, 8:40] = 230
        image[1::2, 56:88] = 230
        return image

    def flag(stream: VideoStream) -> None:
        stream.options = {"preset": "ultrafast", "crf": "5", "x264-params": "interlaced=1:tff=1"}

    path = render(tmp_path / "clip.mkv", count=4, image=woven, configure=flag)
    clip = load(path, num_frames=2)
    image = clip.frames[0].astype(float)
    left, right = image[16:48, 16:32].mean(), image[16:48, 64:80].mean()
    combing = np.abs(np.diff(image[16:48, 16:80], axis=0)).mean()
    assert left > 200
    assert right < 60
    assert combing < 5


def test_cover_art_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as output:
        track = output.add_stream("aac", rate=44_100)
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 96, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(corners(), format="rgb24")
        output.mux(cover.encode(frame))
        output.mux(cover.encode(None))
        wave = Sound(seconds=1).samples()
        for at in range(0, len(wave), 1024):
            part = av.AudioFrame.from_ndarray(wave[None, at : at + 1024], "fltp", "mono")
            part.sample_rate, part.pts = 44_100, at
            output.mux(track.encode(part))
        output.mux(track.encode(None))
    clip = load(path, num_frames=8, audio_rate=16_000)
    assert not clip.info.has_video
    assert clip.frames.shape[0] == 0
    assert clip.audio is not None


def test_frames_without_timestamps_are_timed_by_the_rate(tmp_path: Path) -> None:
    path = render(tmp_path / "clip.h264", count=40, container_format="h264", b_frames=2)
    clip = load(path, num_frames=5)
    assert numbers_of(clip.frames) == expected(40, 5)
    assert clip.timestamps == pytest.approx(np.linspace(0, 39 / 25, 5), abs=0.001)
    assert any("timestamp" in warning for warning in clip.warnings)


@pytest.mark.parametrize("extension", ["mkv", "ts"])
def test_timestamps_far_from_zero_count_from_the_first_frame(
    tmp_path: Path, extension: str
) -> None:
    times = [1000 + number / 25 for number in range(50)]
    path = render(tmp_path / f"clip.{extension}", count=50, times=times)
    clip = load(path, num_frames=5)
    assert clip.timestamps[0] == 0.0
    assert numbers_of(clip.frames) == expected(50, 5)


def test_negative_timestamps(tmp_path: Path) -> None:
    times = [-0.4 + number / 25 for number in range(50)]
    path = render(
        tmp_path / "clip.mkv",
        count=50,
        times=times,
        container_options={"avoid_negative_ts": "disabled"},
    )
    clip = load(path, num_frames=5)
    assert numbers_of(clip.frames) == expected(50, 5)
    assert clip.timestamps == pytest.approx(np.linspace(0, 49 / 25, 5), abs=0.002)


def test_an_edit_list_hides_the_beginning(tmp_path: Path) -> None:
    # Frames before time 0 are stored, and skipped by the edit list that the muxer writes.
    times = [-0.4 + number / 25 for number in range(50)]
    path = render(
        tmp_path / "clip.mp4",
        count=50,
        times=times,
        container_options={"avoid_negative_ts": "disabled", "use_editlist": "1"},
    )
    clip = load(path, num_frames=5)
    assert number_of(clip.frames[0]) == 10
    assert number_of(clip.frames[-1]) == 49
    assert clip.timestamps[-1] == pytest.approx(39 / 25, abs=0.002)
