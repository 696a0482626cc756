"""Start-up locks lie in a folder that every user of a machine writes to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from actors.engine.vllm_engine import _one_start_per_gpu
from schemas.errors import ModelError


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    return tmp_path / f"rayjob-gpu-7-{os.getuid()}.lock"


def test_a_lock_is_made_and_taken_again(lock: Path) -> None:
    for _ in range(2):
        with _one_start_per_gpu():
            assert lock.is_file()


def test_no_link_is_followed(lock: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock.symlink_to(victim)
    with pytest.raises(ModelError, match="cannot be opened"), _one_start_per_gpu():
        pass
    assert victim.read_text() == "precious"


def test_nothing_but_a_plain_file_is_taken(lock: Path) -> None:
    os.mkfifo(lock)
    with pytest.raises(ModelError, match="not a file of this user"), _one_start_per_gpu():
        pass
