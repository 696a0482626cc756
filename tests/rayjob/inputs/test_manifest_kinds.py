"""Manifests as spreadsheets, data frames, data sets of a hub and scripts write them."""

from __future__ import annotations

import gzip
import json
import resource
import sys
import uuid
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayjob.ids import Earlier
from rayjob.inputs.todo import plan_todo
from schemas.errors import SourceError
from tests.support.inputs import failure, ids, listed, moto, stream
from tests.support.services import put_objects, write_files

UUID = uuid.UUID(int=7)


def zstd(data: bytes) -> bytes:
    compressed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return compressed


def written(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


# ---- which inputs are the same

SIGNED_TWICE = [
    ("v?id=1&X-Amz-Date=1&X-Amz-Signature=a", "v?id=1&X-Amz-Date=2&X-Amz-Signature=b"),
    ("v?Expires=1&Signature=a&Key-Pair-Id=k", "v?Expires=2&Signature=b&Key-Pair-Id=k"),
    ("v?AWSAccessKeyId=a&Expires=1&Signature=a", "v?AWSAccessKeyId=a&Expires=2&Signature=b"),
    ("v?GoogleAccessId=a&Expires=1&Signature=a", "v?GoogleAccessId=a&Expires=2&Signature=b"),
    ("v?sv=2024&se=1&sr=b&sp=r&sig=a", "v?sv=2025&se=2&sr=b&sp=r&sig=b"),
    ("v?hdnea=st=1~exp=2~hmac=a", "v?hdnea=st=2~exp=3~hmac=b"),
    ("v?file=a.mp4&token=1", "v?file=a.mp4&token=2"),
]


@pytest.mark.parametrize("addresses", SIGNED_TWICE, ids=lambda each: each[0])
def test_an_address_signed_anew_is_the_same_input(
    addresses: tuple[str, str], tmp_path: Path
) -> None:
    first, second = (f"https://user:pw@host/{each}" for each in addresses)
    other = first.replace("v?", "w?")
    write_files(tmp_path, {"l.csv": f"url\n{first}\n{second}\n{other}\n"})
    todo = plan_todo(listed(tmp_path / "l.csv"), Earlier())
    assert (todo.manifest_rows, todo.repeated, todo.todo) == (3, 1, 2)
    assert "host/v" in (todo.repeated_example or "")


def test_addresses_that_differ_in_their_query_are_different_inputs(tmp_path: Path) -> None:
    urls = ["d?id=1", "d?id=2", "w?v=A", "w?v=B", "d", "d?file=a.mp4", "d?file=b.mp4&v="]
    write_files(tmp_path, {"l.csv": "url\n" + "".join(f"https://host/{each}\n" for each in urls)})
    assert ids(tmp_path / "l.csv") == [f"host/{each}" for each in urls]
    more = ["d?se=1", "d?se=2", "d?expires=1", "d?expires=2", "d?share=hush1", "d?share=hush2"]
    urls = [f"https://host/{each}" for each in [*urls, *more]]
    write_files(tmp_path, {"m.txt": "\n".join(urls)})
    assert plan_todo(listed(tmp_path / "m.txt"), Earlier()).todo == len(urls)
    assert "hush" not in "".join(ids(tmp_path / "m.txt"))


def test_an_id_that_is_an_address_holds_no_signature(tmp_path: Path) -> None:
    given = ["https://u:hush@host/a?v=1&token=hush", "s3://bucket/a?b", "a?token=b"]
    rows = "".join(f"{each},/{n}.mp4\n" for n, each in enumerate(given))
    write_files(tmp_path, {"l.csv": f"video_id,uri\n{rows}"})
    assert ids(tmp_path / "l.csv") == ["https://host/a?v=1", *given[1:]]


def test_different_inputs_of_one_id_are_refused_without_their_secrets(tmp_path: Path) -> None:
    rows = "".join(f"https://host/d?id={n}&X-Amz-Signature=hush,one\n" for n in (1, 2))
    write_files(tmp_path, {"l.csv": f"url,video_id\n{rows}"})
    with pytest.raises(SourceError, match=r"two inputs have the id 'one'.*d\?id=2") as caught:
        plan_todo(listed(tmp_path / "l.csv"), Earlier())
    assert "hush" not in str(caught.value)


def test_rows_repeats_and_inputs_add_up(tmp_path: Path) -> None:
    write_files(tmp_path, {"v/a.mp4": b"x", "v/b.mp4": b"x", "l.txt": "c.mp4\n\nc.mp4\nd.mp4\n"})
    todo = plan_todo(stream(tmp_path / "v", tmp_path / "v", tmp_path / "l.txt"), Earlier())
    assert (todo.total, todo.repeated, todo.manifest_rows) == (4, 3, 3)


# ---- columns of any type


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (pa.array([UUID.bytes], pa.uuid()), str(UUID)),
        (pa.array([Decimal("1.50")]), "1.50"),
        (pa.array([date(2026, 1, 2)]), "2026-01-02"),
        (pa.array([datetime(2026, 1, 2, 3)]), "2026-01-02T03:00:00"),
        (pa.array([time(3, 4)]), "03:04:00"),
        (pa.array([1], pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
        (pa.array([["a"]]), ["a"]),
        (pa.array([{"b": UUID.hex, "a": None}]), {"b": UUID.hex, "a": None}),
        (pa.array([7], pa.uint8()), 7),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([2**62], pa.timestamp("us")), "<value out of range: 4611686018427387904>"),
    ],
    ids=lambda each: str(getattr(each, "type", "")),
)
def test_types_of_columns(values: pa.Array, shown: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "l.parquet", {"uri": ["/v.mp4"], "video_id": values, "m": values})
    (found,) = listed(path)
    assert json.loads(found.metadata or "") == {"m": shown}
    text = shown if isinstance(shown, str) else json.dumps(shown, sort_keys=True)
    assert found.video_id == text


# ---- names as they are


def test_names_on_s3_are_taken_as_they_are(
    moto_url: str, moto_client: Any, moto_bucket: str
) -> None:
    names = ["a//b.mp4", "q?versionId=1.mp4", "./c#d%20e.mp4", "end .mp4 ", " start.mp4"]
    rows = "".join(json.dumps({"uri": name}) + "\n" for name in names)
    put_objects(moto_client, moto_bucket, {"l/l.jsonl": rows.encode(), "l/l.txt": b"a//b.mp4 \n"})
    found = listed(f"s3://{moto_bucket}/l/l.jsonl", storage=moto(moto_url))
    names[2] = "c#d%20e.mp4"
    assert [each.uri for each in found] == [f"s3://{moto_bucket}/l/{name}" for name in names]
    assert [each.video_id for each in found] == names
    assert ids(f"s3://{moto_bucket}/l/l.txt", storage=moto(moto_url)) == ["a//b.mp4 "]


@pytest.mark.parametrize("name", ["end.mp4 ", " start.mp4", " both.mp4 "])
def test_a_local_name_with_spaces_at_its_ends(name: str, tmp_path: Path) -> None:
    write_files(tmp_path, {f"v/{name}": b"x", "v/l.txt": f"{name}\n", "v/l.csv": f"uri\n{name}\n"})
    for manifest in ("l.txt", "l.csv"):
        (found,) = listed(tmp_path / "v" / manifest)
        assert (found.video_id, found.uri) == (name, f"{tmp_path}/v/{name}")


def test_spaces_around_an_address_are_not_part_of_it(tmp_path: Path) -> None:
    write_files(tmp_path, {"l.txt": " https://host/a.mp4 \nhttps://host/b.mp4 \n b.mp4 \n"})
    uris = [each.uri for each in listed(tmp_path / "l.txt")]
    assert uris == ["https://host/a.mp4", "https://host/b.mp4", f"{tmp_path}/b.mp4"]


# ---- kinds of files

ROWS = [{"uri": "/a.mp4", "title": "é"}, {"uri": "/b.mp4", "title": "two"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.json", json.dumps(ROWS).encode()),
        ("l.json", f"\ufeff\n {json.dumps(ROWS, indent=1)}\n".encode()),
        ("l.tsv", "uri\ttitle\n/a.mp4\té\n/b.mp4\ttwo\n".encode()),
        ("l.tsv", "uri\ttitle\r\n/a.mp4\té\r\n/b.mp4\ttwo\r\n".encode("utf-16")),
        ("l.csv", "\ufeffuri,title,,\n/a.mp4,é,,\n,,,\n\n/b.mp4,two,,\n,,,\n,,,\n\n \n".encode()),
        ("l.csv.gz", gzip.compress("uri,title\n/a.mp4,é\n/b.mp4,two\n".encode(), mtime=0)),
        ("l.csv.zst", zstd("uri,title\n/a.mp4,é\n/b.mp4,two\n".encode())),
        ("l.jsonl.zst", zstd("\n".join(map(json.dumps, ROWS)).encode())),
        ("l.JSONL.gz", gzip.compress("\n".join(map(json.dumps, ROWS)).encode(), mtime=0)),
        ("l.jsonl", "\n\ufeff".join(map(json.dumps, ROWS)).encode() + b"\n\n \n"),
    ],
)  # fmt: skip
def test_kinds_of_manifests(name: str, content: bytes, tmp_path: Path) -> None:
    write_files(tmp_path, {name: content})
    found = listed(tmp_path / name)
    assert [each.uri for each in found] == ["/a.mp4", "/b.mp4"]
    assert [json.loads(each.metadata or "") for each in found] == [
        {"title": "é"}, {"title": "two"},
    ]  # fmt: skip


def test_an_array_is_a_stream(tmp_path: Path) -> None:
    rows = ",\n".join(json.dumps({"uri": f"/{n}.mp4", "m": "x" * 900}) for n in range(5_000))
    write_files(tmp_path, {"l.json": f'["/first.mp4", {rows}, 7]'})
    found = stream(tmp_path / "l.json")
    assert next(found).video_id == "first.mp4"
    assert [next(found).video_id for _ in range(5_000)][-1] == "4999.mp4"
    with pytest.raises(SourceError, match="element 5002: not a JSON object but 7"):
        next(found)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.json", '{"uri": "/a.mp4"}', " is not a JSON array"),
        ("l.json", '[{"uri": "/a.mp4"}, {"uri": ', ", element 2: malformed JSON"),
        ("l.json", "[" * 100_000, ", element 1: malformed JSON"),
        ("l.json", "[]", " has no rows"),
        ("l.json", "", " has no rows"),
        ("l.csv.gz", "uri\n/a.mp4\n", " is not a readable gzip file"),
        ("l.csv.zst", "uri\n/a.mp4\n", " is not a readable zstd file"),
        ("l.csv", "uri,title\n/a.mp4,b,c\n", "3 cells, but the header names 2 columns"),
    ],
)
def test_errors(name: str, content: str, message: str, tmp_path: Path) -> None:
    write_files(tmp_path, {name: content})
    assert message in failure(tmp_path / name)


@pytest.mark.parametrize(("name", "row"), [("l.jsonl", "%s"), ("l.json", "[%s]")])
def test_cells_that_are_nested_too_deeply(name: str, row: str, tmp_path: Path) -> None:
    write_files(tmp_path, {name: row % ('{"uri": "a", "m": ' + "[" * 900 + "]" * 900 + "}")})
    if sys.version_info < (3, 12):
        assert "nested too deep" in failure(tmp_path / name)
    else:  # later Pythons nest deeper
        (found,) = listed(tmp_path / name)
        assert found.metadata is not None and found.metadata.count("[") == 900


# ---- videos in cells


def test_a_video_of_the_hub_stands_for_its_bytes_or_else_its_path(tmp_path: Path) -> None:
    video = [{"bytes": b"x" * 1000, "path": "/cell.mp4"}, {"bytes": None, "path": "/two.mp4"}]
    alone = listed(written(tmp_path / "a.parquet", {"video": video, "n": [1, 2]}))
    assert [(each.uri, each.metadata) for each in alone] == [
        (f"parquet://video/0::{tmp_path}/a.parquet", '{"n": 1, "video": {"path": "/cell.mp4"}}'),
        ("/two.mp4", '{"n": 2}'),
    ]
    assert [each.video_id for each in alone] == ["a.parquet/0", "two.mp4"]
    paths = ["/a.mp4", "/b.mp4"]
    for column in ("path", "video_path", "url"):
        beside = listed(written(tmp_path / "b.parquet", {"video": video, column: paths}))
        assert [each.uri for each in beside] == paths
        # The bytes are not even read.
        assert json.loads(beside[0].metadata or "") == {"video": {"path": "/cell.mp4"}}


# ---- what is made to do harm


def test_a_dictionary_that_repeats_a_long_text(tmp_path: Path) -> None:
    text = pa.array(["x" * (8 << 20)]).dictionary_encode()
    path = written(
        tmp_path / "l.parquet",
        {"uri": [f"/{n}.mp4" for n in range(300)], "m": text.take(pa.array([0] * 300))},
    )
    assert path.stat().st_size < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(len(each.metadata or "") for each in stream(path)) > 300 * (8 << 20)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000, "kB"
