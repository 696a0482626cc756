"""Users' manifests: their kinds, and what is wrong in them."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayjob.inputs.listing import Input
from schemas.errors import SourceError
from tests.support.inputs import failure, listed, stream
from tests.support.services import write_files


def test_a_manifest_may_tell_versions(tmp_path: Path) -> None:
    versions = (3, None, float("nan"))
    rows = [{"uri": f"{n}.mp4", "version": version} for n, version in enumerate(versions)]
    text = "\n".join(json.dumps(row) for row in rows)
    write_files(tmp_path, {"list.jsonl": text, "list.csv": "uri,Version\na.mp4,v7\nb.mp4,\n"})
    found = listed(tmp_path / "list.jsonl")
    assert [each.source_version for each in found] == ["3", None, None]
    assert found[0].metadata == '{"version": 3}'
    assert [each.source_version for each in listed(tmp_path / "list.csv")] == ["v7", None]


def test_a_csv_may_carry_long_texts(tmp_path: Path) -> None:
    write_files(tmp_path, {"list.csv": f"uri,text\na.mp4,{'x' * 1_000_000}\n"})
    (found,) = listed(tmp_path / "list.csv")
    assert found.metadata is not None and len(found.metadata) > 1_000_000


def test_csv(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "set/list.csv": (
                "\ufeffURI,title,video_id,n\r\n"
                'a.mp4,"Über, alles\nzwei",first,007\r\n'
                "\r\n"
                " s3://bucket/b c.mp4 ,,second,\r\n"
                "/data/x.mp4,é,third,1\r\n"
            ),
            "plain.csv": "video_path\nset/a.mp4\n",
        },
    )
    found = listed(tmp_path / "set/list.csv")
    assert [(each.video_id, each.uri) for each in found] == [
        ("first", f"{tmp_path}/set/a.mp4"),
        ("second", "s3://bucket/b c.mp4"),
        ("third", "/data/x.mp4"),
    ]
    assert found[0].metadata == '{"n": "007", "title": "Über, alles\\nzwei"}'
    assert listed(tmp_path / "plain.csv") == [Input("set/a.mp4", f"{tmp_path}/set/a.mp4", None)]


def test_jsonl(tmp_path: Path) -> None:
    lines = [
        {"video": "a.mp4", "tags": ["x", "ü"], "score": 1.5, "video_id": 17},
        {"url": "https://user:pw@host/v/b.mp4?sig=hush#t", "video_id": "b"},
        {"path": "c.mp4", "video": "is metadata here", "video_id": "c"},
    ]
    text = "\n\n".join(json.dumps(line) for line in lines)
    write_files(
        tmp_path, {"list.jsonl": text, "list.ndjson": '{"uri": "x.mp4", "n": NaN, "s": "\\ud800"}'}
    )
    assert listed(tmp_path / "list.jsonl") == [
        Input("17", f"{tmp_path}/a.mp4", '{"score": 1.5, "tags": ["x", "ü"]}'),
        Input("b", "https://user:pw@host/v/b.mp4?sig=hush#t", None),
        Input("c", f"{tmp_path}/c.mp4", '{"video": "is metadata here"}'),
    ]
    (only,) = listed(tmp_path / "list.ndjson")
    assert only.metadata == '{"n": null, "s": "\\ud800"}'


def test_txt(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"list.txt": "# set one\n\n  a.mp4  \ns3a://bucket/k#1.mp4\nsub/../b.mp4\n"}
    )
    assert listed(tmp_path / "list.txt") == [
        Input("a.mp4", f"{tmp_path}/a.mp4", None),
        Input("bucket/k#1.mp4", "s3://bucket/k#1.mp4", None),
        Input("b.mp4", f"{tmp_path}/b.mp4", None),
    ]


def test_parquet_keeps_types_in_metadata(tmp_path: Path) -> None:
    table = pa.table(
        {
            "uri": pa.array(["a.mp4", "b.mp4"]).dictionary_encode(),
            "when": pa.array([datetime(2026, 1, 2, tzinfo=UTC)] * 2),
            "n": [1, None],
            "score": [float("nan"), 0.5],
            "price": pa.array([Decimal("1.10")] * 2),
            "blob": [b"\x00\xff"] * 2,
            "tags": [["x"], []],
            "box": [{"w": 3, "h": None}] * 2,
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")
    first, second = listed(tmp_path / "list.parquet")
    assert first.uri == f"{tmp_path}/a.mp4"
    assert json.loads(first.metadata or "") == {
        "when": "2026-01-02T00:00:00+00:00",
        "n": 1,
        "score": None,
        "price": "1.10",
        "blob": "AP8=",
        "tags": ["x"],
        "box": {"w": 3, "h": None},
    }
    assert list(json.loads(second.metadata or "")) == sorted(json.loads(second.metadata or ""))


def test_relative_paths_and_ids_of_manifests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(
        tmp_path,
        {
            "lists/here.mp4": "x",
            "work/there.mp4": "x",
            "work/here.mp4": "x",
            "lists/l.txt": "here.mp4\nthere.mp4\nnowhere.mp4\n/abs/x.mp4\nfile:///abs/y%20z.mp4\n"
            "https://user:pw@host/v/b.mp4?sig=hush\n",
        },
    )
    monkeypatch.chdir(tmp_path / "work")
    found = {each.video_id: each.uri for each in listed("../lists/l.txt")}
    assert found == {
        "here.mp4": f"{tmp_path}/lists/here.mp4",
        f"{tmp_path}/work/there.mp4".lstrip("/"): f"{tmp_path}/work/there.mp4",
        "nowhere.mp4": f"{tmp_path}/lists/nowhere.mp4",
        "abs/x.mp4": "/abs/x.mp4",
        "abs/y z.mp4": "/abs/y z.mp4",
        "host/v/b.mp4": "https://user:pw@host/v/b.mp4?sig=hush",
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "l.csv",
            "title,file\na,b\n",
            ", row 1: no column with the video's uri (uri, path, video, url, video_path); "
            "it has the columns title, file",
        ),
        ("l.csv", "uri,t\na.mp4,1\n ,2\n", ", row 2: the column 'uri' is empty"),
        ("l.csv", "uri,t\na.mp4\n", ", row 1 (line 2): 1 cells, but the header names 2 columns"),
        ("l.csv", "uri,t,t\na.mp4,1,2\n", " names a column twice: uri, t, t"),
        ("l.csv", 'uri\n"a.mp4\n', ", line 2: unexpected end of data"),
        ("l.csv", "uri,video_id\na.mp4,\n", ", row 1: the column 'video_id' is empty"),
        ("l.csv", "uri\n", " has no rows"),
        ("l.csv", b"uri\n\xff\xfe.mp4\n", " is not UTF-8"),
        ("l.jsonl", '{"uri": "a"}\n\n{"uri": \n', ", line 3: malformed JSON"),
        ("l.jsonl", '{"uri": "a"}\n["b"]\n', ", line 2: not a JSON object but '[\"b\"]'"),
        ("l.jsonl", '{"uri": "a"}\n{"name": "b"}\n', ", line 2: no column with the video's uri"),
        ("l.jsonl", '{"uri": null}\n', ", line 1: the column 'uri' is empty"),
        (
            "l.jsonl",
            '{"uri": {"bytes": 1}}\n',
            ", line 1: the column 'uri' must hold text, not dict",
        ),
        ("l.jsonl", '{"uri": "a", "video_id": 1.5}\n', "'video_id' must hold text, not float"),
        ("l.jsonl", "[" * 100_000, ", line 1: malformed JSON"),
        ("l.txt", "s3://bucket\n", ", line 1: s3://bucket names a bucket, not a video"),
        ("l.txt", "# nothing\n", " has no rows"),
        ("l.parquet", "not parquet", " is not a readable Parquet file"),
        ("l.parquet", "", " has no rows"),
    ],
)
def test_errors_of_manifests(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    write_files(tmp_path, {name: content})
    text = failure(tmp_path / name)
    assert message in text
    assert f"{tmp_path}/{name}" in text


def test_manifests_are_streamed(tmp_path: Path) -> None:
    """A mistake far down does not keep the first rows from coming."""
    rows = "".join(f'{{"uri": "{number}.mp4"}}\n' for number in range(50_000))
    write_files(tmp_path, {"long.jsonl": rows + "broken"})
    found = stream(tmp_path / "long.jsonl")
    assert [each.video_id for each in itertools.islice(found, 2)] == ["0.mp4", "1.mp4"]
    with pytest.raises(SourceError, match="line 50001"):
        for _each in found:
            pass
