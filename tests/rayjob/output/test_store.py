"""The output folder: what it accepts, and what it does where the storage fails."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from rayjob.output.store import TableStore
from schemas.errors import ConfigError, OutputUnavailableError
from tests.support.outputs import open_store


@pytest.mark.parametrize(
    "root",
    [
        "hf://datasets/me/out", "hdfs://host/out", "https://me:hushhush@host/out", "s3:/bucket/out",
        "file:/data", "s3://", "s3://Not a bucket/out", "gs:///",
    ],
)  # fmt: skip
def test_what_is_neither_a_folder_nor_s3_is_refused(root: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TableStore(root)
    assert "hushhush" not in str(caught.value)


@pytest.mark.parametrize(
    ("root", "url"),
    [
        ("S3://bucket/out/", "s3://bucket/out"),
        ("s3a://bucket", "s3://bucket"),
        ("GS://bucket/out/", "gs://bucket/out"),
        ("az://container", "az://container"),
        ("file:///data/out", "/data/out"),
        ("/data/a:b", "/data/a:b"),
    ],
)
def test_ways_to_write_a_root(root: str, url: str) -> None:
    assert TableStore(root).url == url


@pytest.mark.parametrize("kind", ["local", "gateway"])
def test_lines(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    store = open_store(kind, request, tmp_path)
    store.write_lines("exports/a.txt", (f"línea {n}\n" for n in range(3)))
    assert store.read_bytes("exports/a.txt").decode() == "línea 0\nlínea 1\nlínea 2\n"


def test_a_folder_that_cannot_be_read_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TableStore(tmp_path)
    for name in ("r1", "r2"):
        store.write_bytes(f"captions/{name}/part-00000.parquet", b"rows")
    assert len(list(store.list("captions"))) == 2
    assert list(store.list("failures")) == []
    scandir = os.scandir

    def stale(path: Any) -> Any:
        if str(path).endswith("r2"):
            raise OSError(errno.ESTALE, "Stale file handle", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", stale)
    with pytest.raises(OutputUnavailableError, match="Stale"):
        list(store.list("captions"))


def test_a_full_disk_is_an_error_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TableStore(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputUnavailableError, match="No space left"):
        store.write_bytes("a/b", b"data")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
