"""Odd names stay what they are: listed, in manifests, on S3, and when they are opened."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.storage.access import open_range
from rayjob.inputs.listing import Input
from schemas.media import StorageOptions
from tests.support.inputs import listed, moto
from tests.support.services import put_objects

NAMES = [
    "two words.mp4",
    " begins with a space.mp4",
    "two  spaces.mp4",
    "a tab\t.mp4",
    "no\u00a0break.mp4",
    "é composed.mp4",
    "e\u0301 decomposed.mp4",
    "漢字と仮名.mp4",
    "שלום.mp4",
    "🎬👩‍👩‍👧.mp4",
    "50%.mp4",
    "a%20b.mp4",
    "%2e%2e%2f.mp4",
    "c#d.mp4",
    "what?.mp4",
    "q?versionId=1&x=2.mp4",
    "1+1=2.mp4",
    "a&b;c.mp4",
    'it\'s "so".mp4',
    "back\\slash.mp4",
    "[brackets]{braces}.mp4",
    "star*.mp4",
    "$HOME ~.mp4",
    "-dash,comma|pipe.mp4",
    "at 12:30:00.mp4",
    "s3:colon@host.mp4",
    "key=value.mp4",
    "x" * 251 + ".mp4",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "sub=1").mkdir(parents=True)
    for name in NAMES:
        (folder / "sub=1" / name).write_bytes(name.encode())
    return folder


def read(found: Input, storage: StorageOptions) -> str:
    with open_range(found.uri, storage) as reader:
        return reader.read().decode()


def test_in_a_folder_and_by_their_path(folder: Path) -> None:
    found = {each.video_id: each for each in listed(folder)}
    assert set(found) == {f"sub=1/{name}" for name in NAMES}
    for name in NAMES:
        each = found[f"sub=1/{name}"]
        assert each.uri == str(folder / "sub=1" / name)
        assert read(each, StorageOptions()) == name
        assert [alone.uri for alone in listed(each.uri)] == [each.uri]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "txt"])
@pytest.mark.parametrize("absolute", [True, False], ids=["absolute", "relative"])
def test_in_a_manifest(folder: Path, kind: str, absolute: bool) -> None:
    uris = [str(folder / "sub=1" / name) if absolute else f"sub=1/{name}" for name in NAMES]
    path = folder / f"list.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["uri"], *([uri] for uri in uris)])
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"uri": uri}) + "\n" for uri in uris))
    elif kind == "parquet":
        pq.write_table(pa.table({"uri": uris}), path)
    else:
        path.write_text("\n".join(uris))
    found = listed(path)
    assert [each.video_id for each in found] == [f"sub=1/{name}" for name in NAMES]
    assert [read(each, StorageOptions()) for each in found] == NAMES


def test_on_s3(moto_url: str, moto_client: Any, moto_bucket: str, tmp_path: Path) -> None:
    put_objects(moto_client, moto_bucket, {f"sub=1/{name}": name.encode() for name in NAMES})
    storage, root = moto(moto_url), f"s3://{moto_bucket}/sub=1/"
    found = {each.video_id: each for each in listed(root, storage=storage)}
    assert set(found) == set(NAMES)
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps({"uri": root + name}) + "\n" for name in NAMES))
    for name, named in zip(NAMES, listed(path, storage=storage), strict=True):
        assert named.uri == found[name].uri == root + name
        assert read(named, storage) == name
