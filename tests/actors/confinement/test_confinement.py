"""A decoding process that a file has taken over reaches nothing: each attack runs inside one."""

from __future__ import annotations

import logging
import platform
import shutil
from pathlib import Path

import pytest

from actors.confinement import watching as watching_module
from actors.confinement.layers import LAYERS
from actors.confinement.sandbox import DecodeSandbox
from actors.stages import failure_of
from schemas.blocks import video_of
from schemas.errors import DecoderCrashedError, DecoderFaultError, NoMediaStreamError
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from tests.actors.confinement.test_sandbox import with_child
from tests.support.media import Sound, render

PLAN = SamplingPlan(num_frames=8, audio_rate=16_000)
SECRET = "marked-secret"

TAKEN_OVER = """
import ctypes, fcntl, pathlib, resource, signal, socket, subprocess, threading
from actors.confinement import child
libc = ctypes.CDLL(None, use_errno=True)
real = child.decode
def syscall(*numbers):
    if libc.syscall(*map(ctypes.c_long, numbers)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def decode(source, *rest):
    if source.name == "attack.mp4":
        {attack}
        raise AssertionError("the attack came through")
    return real(source, *rest)
child.decode = decode
child.main()
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.mp4"
    return render(path, count=60, sounds=[Sound(seconds=2.4)])


@pytest.fixture
def attack_file(good: Path, tmp_path: Path) -> str:
    return str(shutil.copy(good, tmp_path / "attack.mp4"))


REFUSED = {
    "read a file": "open('/etc/passwd')",
    "read the parent's environment": "open(f'/proc/{os.getppid()}/environ')",
    "read its own environment": "open('/proc/self/environ')",
    "list a folder": "os.listdir('/')",
    "write a file": "open('/tmp/attack', 'w')",
    "write a file in memory": "os.memfd_create('attack')",
    "delete a file": "os.unlink('/tmp/attack')",
    "import": "open(sys.executable)",
    "read a file from another thread": (
        "found = []\n        thread = threading.Thread(target=lambda: found.append("
        "libc.open(b'/etc/passwd', 0)))\n        thread.start(); thread.join()\n"
        "        if found == [-1]: raise PermissionError(1, 'Operation not permitted')"
    ),
    "open a socket": "socket.socket()",
    "open a local socket": "socket.socketpair()",
    "fork": "os.fork()",
    "be asked which processes there are": "os.kill(os.getppid(), 0)",
    "kill its parent": "os.kill(os.getppid(), signal.SIGKILL)",
    "have the kernel kill its parent": "fcntl.fcntl(2, fcntl.F_SETOWN, os.getppid())",
    "limit its parent": (
        "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))"
    ),
    "raise its limits": "resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))",
    "type on the terminal": "fcntl.ioctl(2, 0x5412, b'x')",
    "change its user": "os.setuid(0)",
}  # fmt: skip


@pytest.mark.parametrize("attack", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(
    monkeypatch: pytest.MonkeyPatch, good: Path, attack_file: str, attack: str
) -> None:
    with_child(monkeypatch, TAKEN_OVER.format(attack=attack))
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
        with pytest.raises(DecoderFaultError, match=r"PermissionError|not allowed") as caught:
            sandbox.decode(attack_file, PLAN)
        assert len(video_of(sandbox.decode(str(good), PLAN)).frames) == 8
    inputs = {"video_id": "a", "uri": "a", "metadata": None, "source_version": None, "attempts": 0}
    assert failure_of(inputs, caught.value, stage="decode").error == "DecoderFaultError"


DEADLY = {
    "run a program": "os.execv('/bin/true', ['true'])",
    "trace its parent": "syscall(101, 16, os.getppid(), 0, 0)",
    "read its parent's memory": "syscall(310, os.getppid(), 0, 0, 0, 0, 0)",
    "make a namespace": "syscall(272, 0x10000000)",
    "use io_uring": "syscall(425, 1, 0)",
    "mount": "libc.mount(b'none', b'/', b'tmpfs', 0, None)",
}


@pytest.mark.parametrize("attack", DEADLY.values(), ids=DEADLY.keys())
def test_what_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, good: Path, attack_file: str, attack: str
) -> None:
    if "syscall(" in attack and platform.machine() != "x86_64":
        pytest.skip("numbers of x86-64")
    with_child(monkeypatch, TAKEN_OVER.format(attack=attack))
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
        with pytest.raises(DecoderCrashedError, match="SIGSYS"):
            sandbox.decode(attack_file, PLAN)
        assert len(video_of(sandbox.decode(str(good), PLAN)).frames) == 8


def test_no_secret_reaches_the_child(monkeypatch: pytest.MonkeyPatch, attack_file: str) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with_child(monkeypatch, TAKEN_OVER.format(attack="raise KeyError(repr(dict(os.environ)))"))
    sandbox = DecodeSandbox(DecodeLimits(), StorageOptions())
    with sandbox, pytest.raises(DecoderFaultError, match="OMP_NUM_THREADS") as caught:
        sandbox.decode(attack_file, PLAN)
    assert SECRET not in str(caught.value)


def test_the_process_has_a_network_of_its_own_and_no_capabilities(good: Path) -> None:
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
        assert list(sandbox.layers()) == list(LAYERS)
        sandbox.decode(str(good), PLAN)
        process = Path(f"/proc/{sandbox.pid}")
        status = dict(
            line.split(":\t", 1) for line in (process / "status").read_text().splitlines()
        )
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        if not sandbox.layers()["namespaces"]:
            assert (process / "ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        descriptors = [each.readlink() for each in (process / "fd").iterdir()]
        assert not [each for each in descriptors if each.name == good.name]


def test_a_kernel_without_a_layer_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, good: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_child(
        monkeypatch,
        "from actors.confinement import layers\n"
        "def no_landlock(): raise OSError(38, 'Function not implemented')\n"
        "layers._LOCKS['landlock'] = no_landlock\n"
        "from actors.confinement import child\n"
        "child.main()",
    )
    watching_module.warn_of.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
                assert len(video_of(sandbox.decode(str(good), PLAN)).frames) == 8
                assert sandbox.layers()["landlock"] == "Function not implemented"
    told = [record.message for record in caplog.records]
    assert len(told) == 1 and "without" in told[0]
    assert "landlock (Function not implemented)" in told[0]


@pytest.mark.parametrize(
    ("name", "codec", "sound"),
    [
        ("clip.mkv", "libx264", "libopus"),
        ("clip.avi", "mpeg4", "mp3"),
        ("clip.webm", "libvpx", "libopus"),
        ("clip.ts", "libx264", "aac"),
        ("clip.gif", "gif", None),
    ],
)
def test_files_of_many_kinds_need_nothing_that_is_taken_away(
    tmp_path: Path, name: str, codec: str, sound: str | None
) -> None:
    sounds = [Sound(seconds=2, codec=sound, rate=48_000)] if sound else []
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    path = render(tmp_path / name, codec=codec, pix_fmt=pixels, sounds=sounds)
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
        for plan in (PLAN, SamplingPlan(fps=4, compress=True), SamplingPlan(num_frames=3)):
            assert video_of(sandbox.decode(str(path), plan)).num_frames >= 3


def test_subtitles_need_nothing_that_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "clip.srt"
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n\n")
    sandbox = DecodeSandbox(DecodeLimits(), StorageOptions())
    with sandbox, pytest.raises(NoMediaStreamError):
        sandbox.decode(str(path), PLAN)
