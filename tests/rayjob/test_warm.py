"""``rayjob warm``: what it fetches to the nodes, and how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from rayjob.cli import app
from tests.support.services import put_objects
from tinyworld.s3 import S3Gateway


def warmed(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["warm", *map(str, arguments)])


def test_an_endpoint_has_nothing_to_fetch() -> None:
    result = warmed(
        "--model", "m", "--set", "engine.kind=openai", "--set", "engine.endpoint.url=http://h/v1"
    )
    assert result.exit_code == 2
    assert "there is nothing to fetch" in result.output


@pytest.mark.usefixtures("local_ray")
def test_a_node_that_cannot_keep_the_model_is_named(
    gateway: S3Gateway, gateway_bucket: str, tmp_path: Path
) -> None:
    put_objects(gateway.client(), gateway_bucket, {"m/config.json": b"{}", "m/a.safetensors": b"w"})
    model = ("--model", f"s3://{gateway_bucket}/m", "--set")
    good = warmed(*model, f"engine.model_dir={tmp_path}")
    assert good.exit_code == 0, good.output
    (place,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert f": {place}" in good.output
    assert (place / "a.safetensors").read_bytes() == b"w"
    (tmp_path / "file").write_text("not a folder")
    bad = warmed(*model, f"engine.model_dir={tmp_path}/file")
    assert bad.exit_code == 2, bad.output
    assert "cannot be copied to" in bad.output
