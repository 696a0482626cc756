"""A hostile file costs one error, never the process that asked."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.confinement.child import BACKSTOP_MB
from actors.confinement.sandbox import DecodeSandbox
from actors.stages import failure_of
from actors.storage.local import LocalFile
from schemas.blocks import video_of
from schemas.errors import (
    Cause,
    CredentialsError,
    DecoderCrashedError,
    DecoderFaultError,
    DecodeTimeoutError,
    NotAVideoError,
    NotFoundError,
    StorageUnavailableError,
    TruncatedMediaError,
)
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from tests.actors.decoding.test_decoder import expected, load
from tests.support.media import Sound, numbers_of, render

PLAN = SamplingPlan(num_frames=8, audio_rate=16_000)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.mp4"
    return render(path, count=60, sounds=[Sound(seconds=2.4)])


@pytest.fixture
def sandbox() -> Iterator[DecodeSandbox]:
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as made:
        yield made


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch, good: Path, tmp_path: Path) -> str:
    """A file on which a child hangs."""
    with_child(
        monkeypatch,
        "import time\n"
        "from actors.confinement import child\n"
        "real = child.decode\n"
        "child.decode = lambda source, *rest: (\n"
        "    time.sleep(600) if source.name == 'hang.mp4' else real(source, *rest))\n"
        "child.main()",
    )
    return str(shutil.copy(good, tmp_path / "hang.mp4"))


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A web server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/clip.mp4"


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_the_clip_is_the_same_as_in_process(sandbox: DecodeSandbox, good: Path) -> None:
    here = load(good, num_frames=8, audio_rate=16_000)
    there = video_of(sandbox.decode(str(good), PLAN))
    assert there.info == here.info
    assert there.warnings == here.warnings
    assert there.audio_rate == 16_000
    assert there.audio is not None and here.audio is not None
    for one, other in ((there.frames, here.frames), (there.audio, here.audio),
                       (there.timestamps, here.timestamps)):  # fmt: skip
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_sound_without_a_picture(sandbox: DecodeSandbox, tmp_path: Path) -> None:
    path = render(tmp_path / "clip.m4a", codec=None, sounds=[Sound(seconds=1)])
    clip = video_of(sandbox.decode(str(path), PLAN))
    assert clip.frames.shape == (0, 0, 0, 3)
    assert clip.audio is not None


def test_one_child_serves_many_files_good_and_bad(
    sandbox: DecodeSandbox, good: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video " * 100)
    sandbox.decode(str(good), PLAN)
    pid = sandbox.pid
    for path, kind in ((text, NotAVideoError), (tmp_path / "nothing.mp4", NotFoundError)):
        with pytest.raises(kind, match=r"not a media file|there is no file"):
            sandbox.decode(str(path), PLAN)
    assert numbers_of(video_of(sandbox.decode(str(good), PLAN)).frames) == expected(60, 8)
    assert sandbox.pid == pid


def test_a_failure_tells_what_was_odd_before(sandbox: DecodeSandbox, tmp_path: Path) -> None:
    path = render(tmp_path / "cut.mp4", container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    row = {"video_id": "cut.mp4", "uri": str(path), "attempts": 0, "metadata": None}
    with pytest.raises(TruncatedMediaError) as caught:
        sandbox.decode(str(path), PLAN)
    failure = failure_of({**row, "source_version": None}, caught.value, stage="decode")
    assert "the file is cut off; what is there was decoded" in (failure.warnings or ())
    # Of a file that was not looked at nothing is known.
    with pytest.raises(NotFoundError) as missing:
        sandbox.decode(str(tmp_path / "nothing.mp4"), PLAN)
    assert (
        failure_of({**row, "source_version": None}, missing.value, stage="decode").warnings is None
    )


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_child_that_dies_is_named_and_replaced(
    sandbox: DecodeSandbox, good: Path, hanging: str, name: str
) -> None:
    sandbox.decode(str(good), PLAN)
    pid = sandbox.pid
    assert pid is not None
    threading.Timer(0.3, os.kill, (pid, signal.Signals[name])).start()
    with pytest.raises(DecoderCrashedError, match=name):
        sandbox.decode(hanging, PLAN)
    assert numbers_of(video_of(sandbox.decode(str(good), PLAN)).frames) == expected(60, 8)
    assert sandbox.pid != pid


def test_a_child_that_died_between_files_is_replaced(sandbox: DecodeSandbox, good: Path) -> None:
    sandbox.decode(str(good), PLAN)
    assert sandbox.pid is not None
    os.kill(sandbox.pid, signal.SIGKILL)
    os.waitid(os.P_PID, sandbox.pid, os.WEXITED | os.WNOWAIT)
    assert len(video_of(sandbox.decode(str(good), PLAN)).frames) == 8


def test_a_hang_ends_in_time(good: Path, hanging: str) -> None:
    with DecodeSandbox(DecodeLimits(wall_seconds=3), StorageOptions()) as sandbox:
        assert len(video_of(sandbox.decode(str(good), PLAN)).frames) == 8
        pid = sandbox.pid
        assert pid is not None
        begin = time.monotonic()
        with pytest.raises(DecodeTimeoutError, match="3 s"):
            sandbox.decode(hanging, PLAN)
        assert time.monotonic() - begin < 8
        assert gone(pid)
        assert len(video_of(sandbox.decode(str(good), PLAN)).frames) == 8


def test_time_that_the_storage_takes_is_not_the_file_s(
    sandbox: DecodeSandbox, silent_url: str
) -> None:
    options = StorageOptions(places=(silent_url,))
    with DecodeSandbox(DecodeLimits(wall_seconds=0.5), options) as made:
        began = time.monotonic()
        with pytest.raises(StorageUnavailableError):
            made.decode(silent_url, PLAN)
        assert time.monotonic() - began < 10


def test_a_storage_that_is_slow_midway(
    monkeypatch: pytest.MonkeyPatch, good: Path, sandbox: DecodeSandbox
) -> None:
    sandbox.decode(str(good), PLAN)
    fetch = LocalFile.fetch

    def slow(self: LocalFile, start: int, stop: int) -> bytes:
        time.sleep(0.6)
        return fetch(self, start, stop)

    monkeypatch.setattr(LocalFile, "fetch", slow)
    made = DecodeSandbox(DecodeLimits(wall_seconds=0.5), StorageOptions())
    with (
        made,
        pytest.raises(StorageUnavailableError, match=r"not decoded within 0.5 s, 0"),
    ):
        made.decode(str(good), PLAN)


def test_a_storage_that_fails_midway(
    monkeypatch: pytest.MonkeyPatch, good: Path, sandbox: DecodeSandbox
) -> None:
    sandbox.decode(str(good), PLAN)
    pid = sandbox.pid

    def fails(*_: object) -> bytes:
        raise CredentialsError("expired")

    with monkeypatch.context() as patch:
        patch.setattr(LocalFile, "fetch", fails)
        with pytest.raises(CredentialsError, match="expired"):
            sandbox.decode(str(good), PLAN)
    assert len(video_of(sandbox.decode(str(good), PLAN)).frames) == 8
    assert sandbox.pid == pid, "the child is not to blame"


def test_too_much_memory(tmp_path: Path, good: Path) -> None:
    path = render(tmp_path / "large.mp4", count=160, width=1280, height=720, gop=200)
    with DecodeSandbox(DecodeLimits(memory_mb=256), StorageOptions()) as sandbox:
        with pytest.raises(DecoderCrashedError, match="256 MB"):
            sandbox.decode(str(path), SamplingPlan(num_frames=160, max_pixels=2_000_000))
        assert len(video_of(sandbox.decode(str(good), PLAN)).frames) == 8


def test_one_large_allocation_is_refused_by_the_system(good: Path) -> None:
    """Watching from outside would be too slow for an allocation of gigabytes at once."""
    with DecodeSandbox(DecodeLimits(memory_mb=256), StorageOptions()) as sandbox:
        sandbox.decode(str(good), PLAN)
        limit, _ = resource.prlimit(sandbox.pid or 0, resource.RLIMIT_DATA)
        assert limit == (256 + BACKSTOP_MB) << 20


PARENT = """
import sys
from actors.confinement.child import BACKSTOP_MB
from actors.confinement.sandbox import DecodeSandbox
from actors.stages import failure_of
from actors.storage.local import LocalFile
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
sandbox = DecodeSandbox(DecodeLimits(), StorageOptions())
plan = SamplingPlan(num_frames=8, audio_rate=16000)
for uri in sys.argv[1:]:
    try:
        sandbox.decode(uri, plan)
    except Exception:
        pass
    print(sandbox.pid, flush=True)
"""


def test_the_child_dies_with_its_parent(good: Path) -> None:
    """Also while it works: it is stopped in the middle of the second file."""
    command = [sys.executable, "-c", PARENT, *[str(good)] * 10_000]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        assert not gone(child)
        parent.kill()
    try:
        wait_until(lambda: gone(child), 5)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_broken_files_print_nothing(good: Path, tmp_path: Path) -> None:
    data = bytearray(good.read_bytes())
    for at in range(2000, len(data) - 3000, 97):
        data[at] ^= 0xFF
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(bad)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert len(done.stdout.split()) == 1


def with_child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let a sandbox's process run some code, which finds modules as usual, instead of its own."""
    start = "import json, sys, os; sys.path[:] = json.loads(sys.argv.pop())\n"
    monkeypatch.setattr("actors.confinement.process._BOOTSTRAP", start + code)


@pytest.mark.parametrize(
    "fault", ["TypeError('a bug')", "OSError(28, 'No space left on device')", "ImportError('x')"]
)
def test_a_fault_of_ours_is_not_the_video_s(
    monkeypatch: pytest.MonkeyPatch, good: Path, fault: str
) -> None:
    with_child(
        monkeypatch,
        "from actors.confinement import child\n"
        "real = child.decode\n"
        "def decode(source, *rest):\n"
        "    if source.name == 'good.mp4': raise " + fault + "\n"
        "    return real(source, *rest)\n"
        "child.decode = decode\n"
        "child.main()",
    )
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
        with pytest.raises(DecoderFaultError, match=fault.split("(")[0]) as caught:
            sandbox.decode(str(good), PLAN)
        assert "in serve" in caught.value.__notes__[0]
        assert sandbox.pid is None, "a process in an unknown state is replaced"
    inputs = {"video_id": "a", "uri": "a", "metadata": None, "source_version": None}
    rows = [failure_of(inputs | {"attempts": n}, caught.value, stage="decode") for n in range(3)]
    assert [row.transient for row in rows] == [True, True, False]
    assert rows[0].error == "DecoderFaultError"


@pytest.mark.parametrize("code", ["import nothing_of_that_name", "os._exit(3)", "sys.exit(0)"])
def test_a_process_that_cannot_start_is_nobody_s_fault(
    monkeypatch: pytest.MonkeyPatch, good: Path, code: str
) -> None:
    with_child(monkeypatch, code)
    sandbox = DecodeSandbox(DecodeLimits(), StorageOptions())
    with pytest.raises(DecoderFaultError, match="does not start"):
        sandbox.decode(str(good), PLAN)


def test_the_child_starts_lean() -> None:
    code = (
        "import actors.confinement.child, sys; "
        "print({'ray', 'torch', 'vllm', 's3fs', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_transient_errors_keep_their_class(sandbox: DecodeSandbox) -> None:
    options = StorageOptions(endpoint_url="http://127.0.0.1:9", anonymous=True, retries=0)
    with DecodeSandbox(DecodeLimits(), options) as made:
        with pytest.raises(StorageUnavailableError) as caught:
            made.decode("s3://bucket/clip.mp4", PLAN)
        assert caught.value.cause is Cause.AVAILABILITY
        assert caught.value.stage == "open"


def test_close_ends_the_child(good: Path) -> None:
    sandbox = DecodeSandbox(DecodeLimits(), StorageOptions())
    sandbox.decode(str(good), PLAN)
    pid = sandbox.pid
    assert pid is not None
    sandbox.close()
    assert gone(pid)
    assert sandbox.pid is None
