"""A child in the hands of a file says what it likes, and nothing comes of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from actors.confinement.sandbox import DecodeSandbox
from schemas.errors import DecoderFaultError, DecodeTimeoutError, MediaLimitError
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from tests.actors.confinement.test_sandbox import PLAN, with_child
from tests.support.media import render


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("good") / "good.mp4", count=60)


SPAN_ASKED = (
    "b'B' + (16).to_bytes(8, 'little') + ({}).to_bytes(8, 'little') + ({}).to_bytes(8, 'little')"
)

NONSENSE = {
    "3 GB": "b'R' + (3 << 30).to_bytes(8, 'little')",
    "a long error": "b'E' + (1 << 20).to_bytes(8, 'little')",
    "an unknown kind": "b'?' + (1).to_bytes(8, 'little')",
    "ready again": "b'+' + (0).to_bytes(8, 'little')",
    "not a row": "b'R' + (9).to_bytes(8, 'little') + b'x' * 9",
    "bytes beyond the file": SPAN_ASKED.format(1, 1 << 40),
    "bytes backwards": SPAN_ASKED.format(9, 3),
    "no bytes": SPAN_ASKED.format(9, 9),
    "half a span": "b'B' + (8).to_bytes(8, 'little') + bytes(8)",
    "an unknown error": "b'E' + (65).to_bytes(8, 'little') + "
    'b\'{"error": "SystemExit", "message": "", "trace":"", "warnings":[]}\'',
}


def with_answer(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """A child that is ready, and answers the first request so."""
    with_child(
        monkeypatch,
        "os.write(1, b'+' + (2).to_bytes(8, 'little') + b'{}')\n"
        "sys.stdin.readline(); sys.stdin.readline()\n"
        f"os.write(1, {answer}); sys.stdin.read()",
    )


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_child_in_the_hands_of_a_file(
    monkeypatch: pytest.MonkeyPatch, good: Path, answer: str
) -> None:
    with_answer(monkeypatch, answer)
    with DecodeSandbox(DecodeLimits(wall_seconds=5), StorageOptions()) as sandbox:
        with pytest.raises(DecoderFaultError, match=r"nonsense|announces|asks for"):
            sandbox.decode(str(good), PLAN)
        assert sandbox.pid is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("b'C' + (1001).to_bytes(8, 'little')", "announces 1001 bytes"),
        ("b'R' + (9).to_bytes(8, 'little') + b'x' * 9", "announces 9 bytes of b'R'"),
        ("b'C' + (9).to_bytes(8, 'little') + b'x' * 9", "nonsense"),
        ("b'C' + (0).to_bytes(8, 'little')", "nonsense"),
    ],
)
def test_what_is_not_a_clip(
    monkeypatch: pytest.MonkeyPatch, good: Path, answer: str, message: str
) -> None:
    with_answer(monkeypatch, answer)
    with DecodeSandbox(DecodeLimits(wall_seconds=5), StorageOptions()) as sandbox:
        with pytest.raises(DecoderFaultError, match=message):
            sandbox.clip(str(good), 1000)
        assert sandbox.pid is None


def test_a_child_that_reads_without_end(monkeypatch: pytest.MonkeyPatch, good: Path) -> None:
    with_child(
        monkeypatch,
        "os.write(1, b'+' + (2).to_bytes(8, 'little') + b'{}')\n"
        "sys.stdin.readline(); sys.stdin.readline()\n"
        f"while True: os.write(1, {SPAN_ASKED.format(0, 1000)}); sys.stdin.buffer.read(9)",
    )
    monkeypatch.setattr("actors.confinement.process.most_read", lambda size: 3 * size)
    with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
        with pytest.raises(MediaLimitError, match="reads more than"):
            sandbox.decode(str(good), PLAN)
        assert sandbox.pid is None


@pytest.mark.parametrize("pause", ["0", "0.01"])
def test_an_answer_that_never_ends(monkeypatch: pytest.MonkeyPatch, good: Path, pause: str) -> None:
    """The clock is looked at while bytes arrive, too."""
    with_child(
        monkeypatch,
        "import time\n"
        "os.write(1, b'+' + (2).to_bytes(8, 'little') + b'{}')\n"
        "sys.stdin.readline(); sys.stdin.readline()\n"
        "os.write(1, b'R' + (50 << 20).to_bytes(8, 'little'))\n"
        f"while True: os.write(1, b'x'); time.sleep({pause})",
    )
    with DecodeSandbox(DecodeLimits(wall_seconds=0.5), StorageOptions()) as sandbox:
        began = time.monotonic()
        plan = SamplingPlan(num_frames=1000)
        with pytest.raises(DecodeTimeoutError):
            sandbox.decode(str(good), plan)
        assert time.monotonic() - began < 3
