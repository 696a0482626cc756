"""``rayjob check``: what it prints, and how it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from rayjob.cli import app
from tests.support.jobs import ROOT
from tests.support.models.qwen import qwen3_vl, qwen25_vl


def checked(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


@pytest.mark.vllm
def test_it_prints_what_the_model_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = checked("--config", "configs/demo.yaml", "--verbose")
    assert result.exit_code == 0, result.output
    for scene in ("a single frame", "a short clip with sound", "the longest clip", "sound alone"):
        assert f"{scene}: " in result.output
    assert "Describe the clip.<|im_end|>" in result.output


@pytest.mark.vllm
def test_a_deaf_model_and_the_setting_that_helps(tmp_path: Path) -> None:
    model = qwen3_vl().write(tmp_path / "model")
    dummy = ("--model", model, "--set", "engine.load_format=dummy")
    result = checked(*dummy)
    assert result.exit_code == 2
    assert "set recipe.sound to off" in result.output
    result = checked(*dummy, "--set", "recipe.sound=off")
    assert result.exit_code == 0, result.output


@pytest.mark.vllm
def test_a_model_with_code_of_its_own(tmp_path: Path) -> None:
    plain = qwen25_vl()
    own = {"model_type": "own", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
    model = dataclasses.replace(plain, config={**plain.config, **own}).write(tmp_path / "model")
    result = checked("--model", model, "--recipe", "clips", "--set", "engine.load_format=dummy")
    assert result.exit_code == 2
    assert "Set engine.trust_remote_code" in result.output
