"""Videos in the cells of Parquet tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.confinement.sandbox import DecodeSandbox
from actors.storage.access import open_file, read_whole
from rayjob.inputs.manifests import Input
from schemas.blocks import video_of
from schemas.errors import NotFoundError, OpenError
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from tests.support.inputs import listed
from tests.support.media import numbers_of, render

OPTIONS = StorageOptions()
HUB = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def written(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def read(found: list[Input]) -> list[bytes]:
    return [read_whole(each.uri, OPTIONS) for each in found]


@pytest.mark.parametrize("statistics", [True, False])
def test_the_hub_s_struct(tmp_path: Path, statistics: bool) -> None:
    cells = [{"bytes": b"%d" % number, "path": f"{number}.mp4"} for number in range(7)]
    cells[5] = {"bytes": None, "path": "elsewhere.mp4"}
    path = written(
        tmp_path / "train.parquet",
        {"video": pa.array(cells, HUB), "caption": [f"c{number}" for number in range(7)]},
        row_group_size=3, write_statistics=statistics,
    )  # fmt: skip
    found = listed(path)
    assert [each.video_id for each in found] == [
        *(f"train.parquet/{number}" for number in range(5)), "elsewhere.mp4", "train.parquet/6",
    ]  # fmt: skip
    assert found[6].uri == f"parquet://video/6::{path}"
    assert json.loads(found[6].metadata or "") == {"caption": "c6", "video": {"path": "6.mp4"}}
    assert found[5].uri == f"{tmp_path}/elsewhere.mp4"
    assert read([*found[:5], found[6]]) == [b"0", b"1", b"2", b"3", b"4", b"6"]


def test_a_binary_column(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"mp4": [b"1", b"2"], "json": ["{}", "[]"]})
    found = listed(path)
    assert [each.uri for each in found] == [f"parquet://mp4/{row}::{path}" for row in range(2)]
    assert found[0].metadata == '{"json": "{}"}'
    assert read(found) == [b"1", b"2"]
    alone = written(tmp_path / "b.parquet", {"video": [b"1"], "video_id": ["mine"]})
    assert [each.video_id for each in listed(alone)] == ["mine"]
    only = written(tmp_path / "c.parquet", {"video": [b"1", b"2"]})
    assert read(listed(only)) == [b"1", b"2"]


def test_beside_addresses_a_binary_column_is_metadata(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"uri": ["s3://b/a.mp4"], "content": [b"1"]})
    (found,) = listed(path)
    assert (found.uri, found.metadata) == ("s3://b/a.mp4", '{"content": "MQ=="}')


def test_a_folder_of_tables(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written(tmp_path / name / "x.parquet", {"video": [name.encode()]})
    written(tmp_path / "other.parquet", {"caption": ["not a video"]})
    (tmp_path / "broken.parquet").write_bytes(b"x")
    found = listed(tmp_path)
    assert [each.video_id for each in found] == ["one/x.parquet/0", "two/x.parquet/0"]
    assert read(found) == [b"one", b"two"]


def test_cells_that_are_not_there(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"video": [b"1", None, b""]})
    for cell, reason in (("video/7", "there is no"), ("x/0", "there is no"), ("video", "there is"),
                         ("video/1", "there are no bytes"), ("video/2", "is empty")):  # fmt: skip
        with pytest.raises(OpenError, match=reason):
            open_file(f"parquet://{cell}::{path}", OPTIONS)
    (tmp_path / "b.parquet").write_bytes(b"no table")
    with pytest.raises(OpenError, match="cannot be read"):
        open_file(f"parquet://video/0::{tmp_path}/b.parquet", OPTIONS)
    with pytest.raises(NotFoundError):
        open_file(f"parquet://video/0::{tmp_path}/c.parquet", OPTIONS)


def test_cells_are_decoded_and_segments_of_cells(
    tmp_path: Path, gateway: Any, gateway_bucket: str
) -> None:
    data = render(tmp_path / "video.mp4", count=200, gop=25).read_bytes()
    cells = pa.array([{"bytes": data, "path": "v.mp4"}], HUB)
    path = written(
        tmp_path / "a.parquet", {"video": cells, "timestamp": [[[2.0, 4.0], [4.0, 6.0]]]}
    )
    gateway.client().upload_file(str(path), gateway_bucket, "a.parquet")
    storage = StorageOptions(endpoint_url=gateway.endpoint_url)
    found = listed(f"s3://{gateway_bucket}/a.parquet", storage=storage)
    assert [each.video_id for each in found] == ["a.parquet/0#t=2,4", "a.parquet/0#t=4,6"]
    with DecodeSandbox(DecodeLimits(), storage) as sandbox:
        clips = [video_of(sandbox.decode(each.uri, SamplingPlan(num_frames=2))) for each in found]
    assert [numbers_of(clip.frames) for clip in clips] == [[50, 99], [100, 149]]
