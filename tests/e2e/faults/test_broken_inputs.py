"""Good clips among more than twenty kinds of broken ones: a row each, all good ones captioned."""

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import jobs, media
from tests.support.media import Sound
from tinyworld.render import write_video
from tinyworld.world import sample_scenes

GOOD = 4

EXPECTED = {
    "bomb.mp4": ("decode", {"DecoderCrashedError"}),
    "cut-10.mp4": ("open", {"NotAVideoError"}),
    "cut-50.mp4": ("open", {"NotAVideoError"}),
    "cut-99.mp4": ("open", {"NotAVideoError"}),
    "cut-front-30.mp4": ("decode", {"TruncatedMediaError"}),
    "cut-front-60.mp4": ("decode", {"TruncatedMediaError"}),
    "cut-front-90.mp4": ("decode", {"TruncatedMediaError"}),
    "cut-50.mkv": ("decode", {"TruncatedMediaError"}),
    "empty.mp4": ("open", {"EmptyFileError"}),
    "garbage-inside.mp4": ("decode", {"CorruptMediaError"}),
    "hang.mp4": ("open", {"StorageUnavailableError"}),
    "header-only.mp4": ("decode", {"CorruptMediaError"}),
    "html.mp4": ("open", {"NotAVideoError"}),
    "json.mp4": ("open", {"NotAVideoError"}),
    "missing.mp4": ("open", {"NotFoundError"}),
    "no-codec.mp4": ("decode", {"UnsupportedCodecError"}),
    "no-host.mp4": ("open", {"StorageUnavailableError", "NotFoundError"}),
    "one-byte.mp4": ("open", {"NotAVideoError"}),
    "password.mp4": ("open", {"PlaceNotAllowedError"}),
    "pipe.mp4": ("open", {"NotAVideoError"}),
    "pdf.mp4": ("open", {"NotAVideoError"}),
    "playlist.mp4": ("open", {"NotAVideoError"}),
    "private.mp4": ("open", {"PlaceNotAllowedError"}),
    "random.mp4": ("open", {"NotAVideoError"}),
    "subtitles.mp4": ("decode", {"NoMediaStreamError"}),
    "text.mp4": ("open", {"NotAVideoError"}),
    "too-long.mp4": ("decode", {"MediaLimitError"}),
    "zeros.mp4": ("open", {"NotAVideoError"}),
    "zip.mp4": ("open", {"NotAVideoError"}),
}


def break_clips(folder: Path) -> None:
    """Write every broken file of EXPECTED that is a file."""
    sound = [Sound(seconds=4)]
    front = media.render(
        folder / "front.tmp.mp4",
        count=100,
        sounds=sound,
        container_options={"movflags": "faststart"},
    ).read_bytes()
    back = media.render(folder / "back.tmp.mp4", count=100, sounds=sound).read_bytes()
    mkv = media.render(folder / "m.tmp.mkv", count=100, sounds=sound).read_bytes()
    head = front.index(b"mdat") + 4
    chance = random.Random(0)
    files = {
        "empty.mp4": b"",
        "one-byte.mp4": b"x",
        "zeros.mp4": bytes(50_000),
        "random.mp4": chance.randbytes(50_000),
        "text.mp4": b"This is a text, not a video.\n" * 50,
        "html.mp4": b"<html><body>404 Not Found</body></html>",
        "json.mp4": b'{"error": "expired"}',
        "zip.mp4": b"PK\3\4" + bytes(2000),
        "pdf.mp4": b"%PDF-1.7\n" + b"0 obj\n" * 100,
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nx.ts\n#EXT-X-ENDLIST\n",
        "subtitles.mp4": b"1\n00:00:00,000 --> 00:00:01,000\nHello\n\n2\n00:00:01,000 --> "
        b"00:00:02,000\nyou\n",
        "header-only.mp4": front[:head],
        "garbage-inside.mp4": front[:head] + chance.randbytes(len(front) - head),
        "no-codec.mp4": front.replace(b"avc1", b"XYZ1"),
        "cut-50.mkv": mkv[: len(mkv) // 2],
    }
    for percent in (10, 50, 99):
        files[f"cut-{percent}.mp4"] = back[: len(back) * percent // 100]
    for percent in (30, 60, 90):
        files[f"cut-front-{percent}.mp4"] = front[: len(front) * percent // 100]
    for name, data in files.items():
        (folder / name).write_bytes(data)
    # 16 reference frames of 16 megapixels do not fit the memory that the test allows.
    media.render(
        folder / "bomb.mp4", count=20, width=4096, height=4096, codec_options={"refs": "16"}
    )
    media.render(folder / "too-long.mp4", count=130, rate=1)
    os.mkfifo(folder / "pipe.mp4")
    for temporary in folder.glob("*.tmp.*"):
        temporary.unlink()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where the kernel accepts connections, and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.timeout(400)
def test_broken_inputs(tmp_path: Path, silent_port: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    break_clips(folder)
    good = {f"good-{number}.mp4" for number in range(GOOD)}
    for name, scene in zip(sorted(good), sample_scenes(GOOD, seed=71), strict=True):
        write_video(folder / name, [(scene, 2.0)])
    assert len(EXPECTED) >= 20
    manifest = tmp_path / "manifest.csv"
    uris = {name: str(folder / name) for name in {*EXPECTED, *good}}
    uris["no-host.mp4"] = "http://127.0.0.1:9/clip.mp4"
    uris["hang.mp4"] = f"http://127.0.0.1:{silent_port}/clip.mp4"
    uris["private.mp4"] = "http://127.0.0.1:10/clip.mp4"
    uris["password.mp4"] = "file:///etc/passwd"
    opened = f"http://127.0.0.1:9,http://127.0.0.1:{silent_port}"
    lines = [f"{name},{uri}" for name, uri in sorted(uris.items())]
    manifest.write_text("\n".join(["video_id,uri", *lines]) + "\n")

    done = jobs.caption(
        *jobs.DEMO,
        *("--input", manifest, "--output", tmp_path / "out"),
        *("--set", "decode.limits.wall_seconds=10", "--set", "decode.limits.memory_mb=256"),
        *("--set", "decode.limits.max_duration_sec=120"),
        *("--set", "storage.retries=1", "--set", "storage.timeout_sec=5"),
        *("--set", f"storage.places={opened}"),
        timeout=380,
    )
    assert done.code == 0, done.stderr
    assert set(jobs.captions(tmp_path / "out")) == good
    failures = {row["video_id"]: row for row in jobs.read(tmp_path / "out", "failures")}
    found = {name: (row["stage"], row["error"], row["message"]) for name, row in failures.items()}
    assert found.keys() == EXPECTED.keys()
    wrong = {
        name: found[name]
        for name, (stage, errors) in EXPECTED.items()
        if found[name][0] != stage or found[name][1] not in errors
    }
    assert not wrong
    assert all(len(message) >= 10 for _, _, message in found.values())
