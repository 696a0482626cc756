"""What is checked before a run starts, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rayjob.run.prepare import prepare
from rayjob.settings.loading import read_config
from schemas.config import FuseConfig, JobConfig
from schemas.errors import ModelError, SourceError
from tests.support.jobs import ROOT
from tests.support.services import write_files


def prepared(kind: Any, tmp_path: Path, *places: str, recipe: str) -> None:
    flags = {
        "input": [place.format(tmp_path) for place in places],
        "output": str(tmp_path / "out"),
        "recipe.name": recipe,
        "engine.model": "nobody/has-this-model",
    }
    prepare(read_config(kind, None, flags=flags))


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["{}/none"], "nothing at .*/none"),
        (["{}/videos", "{}/none/*.mp4"], "nothing matches"),
        (["file://{}/empty"], "there are no files"),
        (["{}/list.csv"], "row 1: the column 'uri' is empty"),
        (["s3://there/is/none", "{}/none"], "nothing at .*/none"),
    ],
)
def test_local_inputs_are_looked_at_before_the_model(
    tmp_path: Path, places: list[str], message: str
) -> None:
    write_files(tmp_path, {"videos/a.mp4": "x", "list.csv": "uri,n\n,1\n"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=message):
        prepared(JobConfig, tmp_path, *places, recipe="omni")


def test_captions_to_fuse_are_looked_at_before_the_model(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no captions"):
        prepared(FuseConfig, tmp_path, "{}/none", recipe="t2v")


def test_inputs_elsewhere_are_not_looked_at_before_the_model(tmp_path: Path) -> None:
    write_files(tmp_path, {"videos/a.mp4": "x"})
    with pytest.raises(ModelError, match="nobody/has-this-model"):
        prepared(JobConfig, tmp_path, "{}/videos", "s3://there/is/none", recipe="omni")


def test_the_inputs_of_a_run_are_selected_by_length(tmp_path: Path) -> None:
    """Not of each place on its own, nor before the model was looked at."""
    lines = [f"{number}.mp4,{20 * number}" for number in range(10)]
    write_files(tmp_path, {"a.csv": "\n".join(["path,duration_sec", *lines[:5]]),
                           "b.csv": "\n".join(["path,duration_sec", *lines[5:]])})  # fmt: skip
    flags = {
        "input": [f"{tmp_path}/a.csv", f"{tmp_path}/b.csv"],
        "output": str(tmp_path / "out"),
        "engine.model": str(ROOT / "models/tiny-omni"),
        "source.lengths": {"edges_sec": [30, 60, 120, 180], "count": 3},
    }
    run = prepare(read_config(JobConfig, None, flags=flags))
    lengths = [20 * int(each.video_id[:-4]) for each in run.inputs()]
    assert [length // 60 for length in lengths] in ([0, 1, 2], [0, 1, 3])
    assert lengths[0] == 40 and lengths[1] < 120 <= lengths[2] <= 180
