"""Broken files: what can be decoded is, and the rest is an error that says what is wrong."""

from __future__ import annotations

import random
import re
from pathlib import Path

import av
import numpy as np
import pytest

from actors.decoding.decoder import decode
from actors.storage.access import open_range
from schemas.errors import (
    AccessDeniedError,
    CorruptMediaError,
    EmptyFileError,
    MediaLimitError,
    NoMediaStreamError,
    NotAVideoError,
    NotFoundError,
    TruncatedMediaError,
    UnsupportedCodecError,
    VideoError,
)
from schemas.media import DecodedVideo, DecodeLimits, SamplingPlan, StorageOptions
from tests.actors.decoding.test_decoder import expected, load
from tests.support.media import Sound, numbers_of, render

WHAT_IS_THERE = DecodeLimits(min_complete=0)
FASTSTART = {"movflags": "faststart"}
BOTH: dict[str, float] = {"num_frames": 8, "audio_rate": 16_000}
PICTURE: dict[str, float] = {"num_frames": 8}


def box(kind: bytes, *, at: int, data: bytes) -> int:
    """Return where the contents of the next box of a kind begin."""
    return data.index(kind, at) + 4


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    return render(
        folder / "good.mp4",
        count=100,
        b_frames=2,
        sounds=[Sound(seconds=4)],
        container_options=FASTSTART,
    )


@pytest.fixture(scope="module")
def good_mkv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    return render(folder / "good.mkv", count=100, b_frames=2, sounds=[Sound(seconds=4)])


def apart(path: Path, *, first: str) -> Path:
    """A clip whose sound stands before or behind its picture; the latter of them is cut off."""
    sounds = [Sound(seconds=4, codec="pcm_s16le", rate=8_000)]
    bare = render(path.with_name("bare.mov"), count=100, sounds=sounds)
    options = {**FASTSTART, "max_interleave_delta": "1"}
    with av.open(str(bare)) as opened, av.open(str(path), "w", options=options) as to:
        streams = {each.index: to.add_stream_from_template(each) for each in opened.streams}
        packets = [packet for packet in opened.demux() if packet.size]
        packets.sort(key=lambda packet: (packet.stream.type == "audio") != (first == "sound"))
        for packet in packets:
            packet.stream = streams[packet.stream_index]
            to.mux_one(packet)
    with av.open(str(path)) as opened:
        entries = [list(each.index_entries) for each in opened.streams]
        middle = max(each[len(each) // 2].pos for each in entries)
    path.write_bytes(path.read_bytes()[:middle])
    return path


def write(tmp_path: Path, data: bytes, name: str = "clip.mp4") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def error_of(path: Path, limits: DecodeLimits | None = None, **plan: float) -> VideoError:
    with pytest.raises(VideoError) as caught:
        load(path, limits=limits or DecodeLimits(), **(plan or BOTH))
    message = str(caught.value)
    assert message
    assert "Traceback" not in message
    assert len(message) < 400
    return caught.value


@pytest.mark.parametrize("plan", [PICTURE, BOTH], ids=["picture", "both"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_cut_off_file_gives_what_is_there(
    tmp_path: Path, good: Path, share: float, plan: dict[str, float]
) -> None:
    data = good.read_bytes()
    path = write(tmp_path, data[: int(len(data) * share)])
    if share < 0.95:
        error = error_of(path, **plan)
        assert isinstance(error, TruncatedMediaError)
        assert "announces 4.0 s" in str(error)
    clip = load(path, limits=WHAT_IS_THERE, **plan)
    numbers = numbers_of(clip.frames)
    assert len(numbers) >= 5
    assert numbers[0] == 0
    assert numbers == sorted(set(numbers))
    assert 0.4 * share < clip.info.duration_sec / 4 <= min(1.0, share + 0.05)
    assert any("cut off" in warning for warning in clip.warnings)


@pytest.mark.parametrize("plan", [PICTURE, BOTH], ids=["picture", "both"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.9])
def test_a_cut_off_matroska_file_gives_what_is_there(
    tmp_path: Path, good_mkv: Path, share: float, plan: dict[str, float]
) -> None:
    data = good_mkv.read_bytes()
    path = write(tmp_path, data[: int(len(data) * share)], "clip.mkv")
    if share < 0.9:
        assert isinstance(error_of(path, **plan), TruncatedMediaError)
    clip = load(path, limits=WHAT_IS_THERE, **plan)
    assert numbers_of(clip.frames)[0] == 0
    assert clip.info.duration_sec < 4 * (share + 0.1)
    if share < 0.9:
        assert any("announces" in warning for warning in clip.warnings)


@pytest.mark.parametrize("plan", [PICTURE, BOTH], ids=["picture", "both"])
@pytest.mark.parametrize("share", [0.4, 0.9, 0.99])
def test_a_cut_off_avi_file(tmp_path: Path, share: float, plan: dict[str, float]) -> None:
    sound = Sound(seconds=4, codec="libmp3lame")
    data = render(tmp_path / "whole.avi", count=100, codec="mpeg4", sounds=[sound]).read_bytes()
    path = write(tmp_path, data[: int(len(data) * share)], "clip.avi")
    if share < 0.95:
        error = error_of(path, **plan)
        assert isinstance(error, TruncatedMediaError)
    clip = load(path, limits=WHAT_IS_THERE, **plan)
    assert clip.info.duration_sec == pytest.approx(4 * share, rel=0.3)
    assert any("announces" in warning for warning in clip.warnings)


def test_a_recording_whose_length_was_not_known(tmp_path: Path) -> None:
    data = bytearray(render(tmp_path / "clip.avi", count=100, codec="mpeg4").read_bytes())
    data[4:8] = b"\xff\xff\xff\xff"
    assert load(write(tmp_path, bytes(data), "clip.avi"), **PICTURE).warnings == ()


@pytest.mark.parametrize("first", ["sound", "picture"])
def test_a_cut_that_spares_one_stream(tmp_path: Path, first: str) -> None:
    path = apart(tmp_path / "clip.mov", first=first)
    if first == "sound":
        # All of the sound is there, and yet the film is not.
        assert isinstance(error_of(path, **PICTURE), TruncatedMediaError)
    else:
        # Nothing that the plan wants is missing.
        assert len(load(path, **PICTURE).frames) == 8
    assert isinstance(error_of(path, **BOTH), TruncatedMediaError)


@pytest.mark.parametrize("plan", [PICTURE, BOTH])
def test_frames_behind_damaged_sound_keep_their_times(
    tmp_path: Path, good_mkv: Path, plan: dict[str, float]
) -> None:
    data = bytearray(good_mkv.read_bytes())
    blocks = list(re.finditer(rb"\xa3[\x40-\xff].?\x82..\x80", data, re.DOTALL))  # of track 2
    at = blocks[len(blocks) // 2].end()
    # Several frames in one block, longer than the block.
    data[at - 1] |= 0x02
    data[at : at + 3] = b"\xff\xff\xff"
    clip = load(write(tmp_path, bytes(data), "clip.mkv"), **plan)
    assert any("the file is damaged" in warning for warning in clip.warnings)
    for time, number in zip(clip.timestamps.tolist(), numbers_of(clip.frames), strict=True):
        assert number <= round(time * 25) < number + 12, "in the gap the frame before stands still"


@pytest.mark.parametrize("extension", ["mp4", "mkv", "webm", "avi", "flv", "ts", "mov", "mxf"])
@pytest.mark.parametrize("sound_sec", [2.0, 4.0, 6.0])
def test_whole_files_are_whole(tmp_path: Path, extension: str, sound_sec: float) -> None:
    codec = {"webm": "libvpx", "avi": "mpeg4", "mxf": "mpeg2video"}.get(extension, "libx264")
    coded = {"webm": "libopus", "avi": "libmp3lame", "mxf": "pcm_s16le"}.get(extension, "aac")
    path = render(
        tmp_path / f"clip.{extension}",
        count=100,
        codec=codec,
        b_frames=2 if codec == "libx264" else 0,
        sounds=[Sound(seconds=sound_sec, codec=coded, rate=48_000)],
    )
    for plan in (PICTURE, BOTH):
        clip = load(path, **plan)
        assert not [warning for warning in clip.warnings if "announces" in warning]
        # The MXF muxer ends with the shorter stream.
        longest = min(sound_sec, 4.0) if extension == "mxf" else max(sound_sec, 4.0)
        assert clip.info.duration_sec == pytest.approx(longest, abs=0.1)


def test_a_track_that_nobody_asked_for_may_outlast_the_film(tmp_path: Path) -> None:
    sounds = [Sound(seconds=2, default=True), Sound(seconds=10, default=False)]
    path = render(tmp_path / "clip.mkv", count=50, sounds=sounds)
    for plan in (PICTURE, BOTH):
        clip = load(path, **plan)
        assert clip.info.duration_sec == pytest.approx(2.0, abs=0.1)
        assert clip.warnings == ()


def test_no_index(tmp_path: Path) -> None:
    data = render(tmp_path / "late.mp4", count=50).read_bytes()
    error = error_of(write(tmp_path, data[: data.index(b"moov") - 4]))
    assert isinstance(error, NotAVideoError)
    assert "moov" in str(error)


def test_header_without_data(tmp_path: Path, good: Path) -> None:
    data = good.read_bytes()
    error = error_of(write(tmp_path, data[: data.index(b"mdat") + 4]))
    assert isinstance(error, CorruptMediaError)


def test_empty_file(tmp_path: Path) -> None:
    assert isinstance(error_of(write(tmp_path, b"")), EmptyFileError)


@pytest.mark.parametrize(
    "data",
    [
        b"This is a text, not a video.\n" * 100,
        b"x",
        b"\0" * 100_000,
        b"<html><body>404</body></html>",
        b'{"key": "value"}',
        b"PK\3\4" + b"\0" * 1000,
        b"%PDF-1.7\n" + b"0 obj\n" * 100,
    ],
)
def test_not_a_video(tmp_path: Path, data: bytes) -> None:
    assert isinstance(error_of(write(tmp_path, data)), NotAVideoError)


def test_random_bytes(tmp_path: Path) -> None:
    data = random.Random(0).randbytes(200_000)
    assert isinstance(error_of(write(tmp_path, data)), NotAVideoError)


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat", "list.sdp"])
def test_playlists_do_not_open_other_files(tmp_path: Path, good: Path, name: str) -> None:
    texts = {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{good}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile {good}\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    }
    text = texts.get(name.split(".")[1], texts["m3u8"])
    error = error_of(write(tmp_path, text.encode(), name))
    assert isinstance(error, NotAVideoError | CorruptMediaError)


def test_unknown_picture_codec(tmp_path: Path, good: Path) -> None:
    error = error_of(write(tmp_path, good.read_bytes().replace(b"avc1", b"XYZ1")))
    assert isinstance(error, UnsupportedCodecError)
    assert "XYZ1" in str(error)


def test_unknown_sound_codec_is_a_warning(tmp_path: Path) -> None:
    sound = Sound(seconds=2, codec="pcm_s16le")
    data = render(tmp_path / "clip.mov", sounds=[sound]).read_bytes()
    clip = load(write(tmp_path, data.replace(b"sowt", b"XYZ2")), num_frames=8, audio_rate=16_000)
    assert len(clip.frames) == 8
    assert clip.audio is None
    assert not clip.info.has_audio
    assert any("XYZ2" in warning for warning in clip.warnings)


def test_unknown_sound_codec_without_a_picture(tmp_path: Path) -> None:
    sound = Sound(seconds=2, codec="pcm_s16le")
    data = render(tmp_path / "clip.mov", codec=None, sounds=[sound]).read_bytes()
    error = error_of(write(tmp_path, data.replace(b"sowt", b"XYZ2")))
    assert isinstance(error, UnsupportedCodecError)


def test_no_picture_and_no_sound(tmp_path: Path) -> None:
    text = "1\n00:00:00,000 --> 00:00:01,000\nHello\n\n2\n00:00:01,000 --> 00:00:02,000\nyou\n"
    assert isinstance(error_of(write(tmp_path, text.encode(), "clip.srt")), NoMediaStreamError)


@pytest.mark.parametrize("seed", range(6))
def test_bit_flips_cost_frames_not_the_clip(tmp_path: Path, good: Path, seed: int) -> None:
    data = bytearray(good.read_bytes())
    chance = random.Random(seed)
    for _ in range(30):
        data[chance.randrange(data.index(b"mdat") + 2000, len(data))] ^= 1 << chance.randrange(8)
    clip = load(write(tmp_path, bytes(data)), num_frames=8, audio_rate=16_000)
    assert len(clip.frames) >= 4
    assert np.all(np.diff(clip.timestamps) > 0)


def test_nothing_but_garbage_inside(tmp_path: Path, good: Path) -> None:
    data = good.read_bytes()
    start = data.index(b"mdat") + 4
    noise = random.Random(1).randbytes(len(data) - start)
    assert isinstance(error_of(write(tmp_path, data[:start] + noise)), CorruptMediaError)


def test_damaged_indexes_end_in_an_answer(tmp_path: Path, good: Path) -> None:
    data = good.read_bytes()
    start, stop = data.index(b"moov"), data.index(b"mdat")
    for seed in range(25):
        chance = random.Random(seed)
        broken = bytearray(data)
        for _ in range(8):
            broken[chance.randrange(start, stop)] = chance.randrange(256)
        path = write(tmp_path, bytes(broken), f"{seed}.mp4")
        try:
            clip = load(path, num_frames=8, audio_rate=16_000)
        except VideoError:
            continue
        assert clip.frames.ndim == 4


def test_too_large(good: Path) -> None:
    error = error_of(good, DecodeLimits(max_frame_pixels=1000))
    assert isinstance(error, MediaLimitError)
    assert "96x64" in str(error)


@pytest.mark.parametrize("extension", ["mp4", "mkv", "h264"])
def test_too_long(tmp_path: Path, extension: str) -> None:
    form = "h264" if extension == "h264" else None
    path = render(tmp_path / f"clip.{extension}", count=100, container_format=form)
    error = error_of(path, DecodeLimits(max_duration_sec=3))
    assert isinstance(error, MediaLimitError)


def test_missing_file(tmp_path: Path) -> None:
    assert isinstance(error_of(tmp_path / "nothing.mp4"), NotFoundError)


def test_folder(tmp_path: Path) -> None:
    assert isinstance(error_of(tmp_path), NotAVideoError)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: Path) -> None:
    # The tests may run as root, who may read everything.
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("actors.storage.access.os.open", refuse)
    assert isinstance(error_of(good), AccessDeniedError)


def test_fragmented_files_are_complete(tmp_path: Path) -> None:
    path = render(
        tmp_path / "clip.mp4",
        count=200,
        sounds=[Sound(seconds=8, bursts=[(6.0, 7.0)])],
        container_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    )
    clip: DecodedVideo = load(path, num_frames=9, audio_rate=16_000)
    assert numbers_of(clip.frames) == expected(200, 9)
    assert clip.audio is not None
    burst = np.flatnonzero(np.abs(clip.audio) > 0.1) / 16_000
    assert burst[0] == pytest.approx(6.0, abs=0.05)


def test_decode_closes_nothing_it_does_not_own(good: Path) -> None:
    with open_range(str(good), StorageOptions()) as reader:
        for _ in range(2):
            reader.seek(0)
            clip = decode(reader, SamplingPlan(num_frames=3), DecodeLimits())
            assert numbers_of(clip.frames) == expected(100, 3)
