"""Manifests that are read by columns say what they say row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayjob.inputs.columns import LISTED, read_columns, table_of
from rayjob.inputs.manifests import Input, read_manifest
from schemas.errors import SourceError
from schemas.media import StorageOptions

PLAIN = ["s3://bucket/a/b-1.mp4", "/data/x/c_2=3.mkv", "s3://my.bucket/d"]


def written(folder: Path, columns: dict[str, Any], **how: Any) -> str:
    pq.write_table(pa.table(columns), folder / "manifest.parquet", **how)
    return str(folder / "manifest.parquet")


def both(manifest: str) -> tuple[pa.Table, pa.Table, int]:
    """Row by row and by columns, and how many rows came in tables."""
    storage = StorageOptions()
    expected = table_of([*read_manifest(manifest, storage)])
    parts = [*read_columns(manifest, storage)]
    tables = [each if isinstance(each, pa.Table) else table_of([each]) for each in parts]
    many = sum(each.num_rows for each in parts if isinstance(each, pa.Table))
    return expected, pa.concat_tables(tables), many


@pytest.mark.parametrize(
    "columns",
    [
        {"uri": PLAIN},
        {"URI ": PLAIN, "Video_ID": ["a", "b/c.mp4", "d=1"]},
        {"path": pa.array(PLAIN, pa.large_string())},
        {"uri": PLAIN, "Topic": ["x", None, "é"], "n": [1, 2, None], "share": [0.5, None, 1.0]},
        {"uri": PLAIN, "video_id": ["x", "y", "z"], "is new": [True, False, None]},
    ],
)
def test_plain_rows_come_in_tables(tmp_path: Path, columns: dict[str, Any]) -> None:
    expected, found, many = both(written(tmp_path, columns))
    assert found.equals(expected)
    assert found.schema == LISTED
    assert many == found.num_rows


def test_what_lies_beside_the_manifest_is_named_from_there(tmp_path: Path) -> None:
    uris = [f"{tmp_path}/in/a.mp4", f"{tmp_path}/b.mp4", "/elsewhere/c.mp4"]
    expected, found, many = both(written(tmp_path, {"uri": uris}))
    assert found.equals(expected)
    assert found.column("video_id").to_pylist()[:2] == ["in/a.mp4", "b.mp4"]
    assert many == 3


@pytest.mark.parametrize(
    "uri",
    [
        "relative.mp4", "./a.mp4", "/a/../b.mp4", "/a//b.mp4", " /a/b.mp4 ", "/a/b c.mp4",
        "https://host/a.mp4?sig=1", "s3a://bucket/a.mp4", "/a/b.mp4#t=1,2", "s3://bucket/ä.mp4",
        "file:///a/b.mp4", "zip://a.mp4::/data/b.zip", "~/a.mp4", "/a/b.mp4/", "/a/b.mp4\n",
    ],
)  # fmt: skip
def test_any_other_address_is_looked_at(tmp_path: Path, uri: str) -> None:
    expected, found, many = both(written(tmp_path, {"uri": [*PLAIN, uri]}))
    assert found.equals(expected)
    assert many == 0


@pytest.mark.parametrize("video_id", ["a b", "a:b", "https://h/a?sig=1", "ä"])
def test_any_other_id_is_looked_at(tmp_path: Path, video_id: str) -> None:
    expected, found, many = both(
        written(tmp_path, {"uri": PLAIN, "video_id": ["x", video_id, "y"]})
    )
    assert found.equals(expected)
    assert many == 0


@pytest.mark.parametrize(
    "columns",
    [
        {"uri": PLAIN, "version": ["x", "y", "z"]},
        {"uri": PLAIN, "start": [1.0, 2.0, 3.0], "end": [4.0, 5.0, 6.0]},
        {"uri": PLAIN, "video_id": [1, 2, 3]},
        {"uri": PLAIN, "tags": [["a"], [], None]},
        {"uri": PLAIN, "topic": ["x", "y", "z"], "Topic ": ["x", "y", "z"]},
        {"uri": PLAIN, "path": PLAIN},
    ],
)
def test_other_columns_are_looked_at(tmp_path: Path, columns: dict[str, Any]) -> None:
    expected, found, many = both(written(tmp_path, columns))
    assert found.equals(expected)
    assert many == 0


def test_a_wrong_row_is_named_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayjob.inputs.rows._MANY_ROWS", 2)
    manifest = written(tmp_path, {"uri": [*PLAIN, None]})
    listed = read_columns(manifest, StorageOptions())
    assert isinstance(next(listed), pa.Table)
    assert isinstance(next(listed), Input)
    with pytest.raises(SourceError, match=r"manifest\.parquet, row 4: the column 'uri' is empty"):
        next(listed)


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    manifest = written(tmp_path, {"uri": pa.array([], pa.string())})
    with pytest.raises(SourceError, match="has no rows"):
        next(read_columns(manifest, StorageOptions()))
