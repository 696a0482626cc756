"""Inputs, from local files and two S3 servers, and what users get wrong."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.storage.s3 import s3_client
from rayjob.inputs.listing import Input, iter_inputs
from rayjob.settings.loading import read_config
from schemas.config import SourceConfig
from schemas.errors import ConfigError, SourceError
from schemas.media import StorageOptions
from tests.support.fault_proxy import FaultProxy
from tests.support.services import fill_moto_bucket, new_bucket, put_objects, write_files
from tinyworld.s3 import S3Gateway

Start = Callable[..., FaultProxy]


def stream(
    *inputs: str | Path,
    extensions: tuple[str, ...] | None = None,
    storage: StorageOptions | None = None,
) -> Iterator[Input]:
    source = SourceConfig() if extensions is None else SourceConfig(extensions=extensions)
    return iter_inputs(
        [str(each) for each in inputs],
        source=source,
        storage=storage or StorageOptions(),
    )


def listed(*inputs: str | Path, **options: Any) -> list[Input]:
    return list(stream(*inputs, **options))


def ids(*inputs: str | Path, **options: Any) -> list[str]:
    return [each.video_id for each in stream(*inputs, **options)]


def failure(*inputs: str | Path, **options: Any) -> str:
    with pytest.raises(SourceError) as caught:
        listed(*inputs, **options)
    return str(caught.value)


def on_disk(video_id: str, path: Path) -> Input:
    status = path.stat()
    return Input(video_id, str(path), None, f"{status.st_size}-{status.st_mtime_ns}")


def md5(data: bytes) -> str:
    """The ETag of an object that came in one piece."""
    return hashlib.md5(data).hexdigest()


def moto(url: str, **options: Any) -> StorageOptions:
    return StorageOptions(endpoint_url=url, **options)


# ---- local files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(
        tmp_path / "videos",
        {
            "b.mp4": "x",
            "a/one.MP4": "x",
            "a/two.mkv": "",
            "a/deep/er/three.webm": "x",
            "a-b/four.mp4": "x",
            "a.mov": "x",
            "notes.txt": "x",
            "a/cover.jpg": "x",
            "README": "x",
            ".hidden.mp4": "x",
            "a/._one.mp4": "x",
            ".cache/five.mp4": "x",
            "_SUCCESS": "",
            "_temporary/0/six.mp4": "x",
            "_intro.mp4": "x",
        },
    )


FOLDER_IDS = [
    "_intro.mp4",
    "a-b/four.mp4",
    "a.mov",
    "a/deep/er/three.webm",
    "a/one.MP4",
    "a/two.mkv",
    "b.mp4",
]


def test_folder_is_recursive_filtered_and_in_byte_order(folder: Path) -> None:
    found = listed(folder)
    assert [each.video_id for each in found] == FOLDER_IDS
    assert found[1] == on_disk("a-b/four.mp4", folder / "a-b/four.mp4")
    assert ids(f"{folder}/") == FOLDER_IDS
    assert ids(f"file://{folder}") == FOLDER_IDS


def test_a_file_that_changes_gets_another_version(folder: Path) -> None:
    def versions() -> dict[str, str | None]:
        return {each.video_id: each.source_version for each in listed(folder)}

    (folder / "nowhere.mp4").symlink_to(folder / "there-is-none.mp4")
    before = versions()
    assert before == versions() and before["nowhere.mp4"] is None
    (folder / "b.mp4").write_text("longer")
    changed = folder / "a.mov"
    os.utime(changed, ns=(changed.stat().st_atime_ns, changed.stat().st_mtime_ns + 1))
    after = versions()
    assert {name for name in before if before[name] != after[name]} == {"b.mp4", "a.mov"}
    assert listed(f"{folder}/*.mov") == listed(changed) == [on_disk("a.mov", changed)]


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


def test_relative_paths_are_stored_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert listed("videos") == listed(folder)
    assert listed("videos/../videos/a.mov") == [on_disk("a.mov", folder / "a.mov")]
    monkeypatch.setenv("HOME", str(folder.parent))
    assert ids("~/videos/a/*.mkv") == ["two.mkv"]


def test_extensions_filter_folders_but_not_named_files(folder: Path) -> None:
    assert ids(folder, extensions=(".MKV", "jpg")) == ["a/cover.jpg", "a/two.mkv"]
    everything = ids(folder, extensions=("*",))
    assert everything == sorted([*FOLDER_IDS, "README", "a/cover.jpg", "notes.txt"])
    assert ids(folder / "a/cover.jpg") == ["cover.jpg"]
    assert ids(folder / ".hidden.mp4") == [".hidden.mp4"]


def test_links_loops_and_broken_links(folder: Path) -> None:
    (folder / "a/loop").symlink_to(folder)
    (folder / "a/self.mp4").symlink_to("self.mp4")
    (folder / "gone.mp4").symlink_to("nowhere.mp4")
    (folder / "z-again").symlink_to(folder / "a-b")
    (folder.parent / "other").mkdir()
    (folder.parent / "other/seven.mp4").write_text("x")
    (folder / "linked").symlink_to(folder.parent / "other")
    found = ids(folder)
    assert found == sorted([*FOLDER_IDS, "a/self.mp4", "gone.mp4", "linked/seven.mp4"])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.mp4", ["_intro.mp4", "b.mp4"]),
        ("*", ["_intro.mp4", "a.mov", "b.mp4"]),
        ("a/*", ["one.MP4", "two.mkv"]),
        ("a*/*", ["a-b/four.mp4", "a/one.MP4", "a/two.mkv"]),
        ("*/*/*/*.webm", ["a/deep/er/three.webm"]),
        ("**/*.mp4", ["_intro.mp4", "a-b/four.mp4", "b.mp4"]),
        ("**", FOLDER_IDS),
        ("**/**/er/**", ["a/deep/er/three.webm"]),
        ("a/**/*.webm", ["deep/er/three.webm"]),
        ("a/d*/", ["deep/er/three.webm"]),
        ("?.m[op]v", ["a.mov"]),
        ("[!a].*", ["b.mp4"]),
        (".*", [".hidden.mp4"]),
        (".c*/*.mp4", [".cache/five.mp4"]),
    ],
)
def test_globs_mean_the_same_locally_and_on_s3(
    pattern: str,
    expected: list[str],
    folder: Path,
    moto_url: str,
    moto_bucket: str,
    moto_client: Any,
) -> None:
    assert ids(f"{folder}/{pattern}") == expected
    files = [path for path in folder.rglob("*") if path.is_file()]
    put_objects(moto_client, moto_bucket, {f"v/{each.relative_to(folder)}": b"x" for each in files})
    found = listed(f"s3://{moto_bucket}/v/{pattern}", storage=moto(moto_url))
    assert [each.video_id for each in found] == expected
    assert all(each.uri.startswith(f"s3://{moto_bucket}/v/") for each in found)
    assert all(each.uri.endswith(each.video_id) for each in found)


def test_glob_does_not_look_where_nothing_can_match(folder: Path) -> None:
    forbidden = folder / "secret"
    forbidden.mkdir()
    looked: list[str] = []
    scandir = os.scandir

    def spy(path: str) -> Any:
        looked.append(os.path.relpath(path, folder))
        return scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", spy)
        assert ids(f"{folder}/a*/*.mkv") == ["a/two.mkv"]
    assert looked == [".", "a-b", "a"]


def test_name_with_wildcards_is_taken_literally_if_it_exists(tmp_path: Path) -> None:
    write_files(tmp_path, {"clip [1].mp4": "x", "clip 1.mp4": "x", "set*/a.mp4": "x"})
    assert ids(tmp_path / "clip [1].mp4") == ["clip [1].mp4"]
    assert ids(tmp_path / "set*") == ["a.mp4"]
    assert ids(tmp_path / "clip [1]*") == ["clip 1.mp4"]


def test_errors_of_local_inputs(folder: Path, tmp_path: Path) -> None:
    assert failure(tmp_path / "nope") == f"nothing at {tmp_path}/nope: no such file or folder"
    (tmp_path / "empty").mkdir()
    assert "there are no files" in failure(tmp_path / "empty")
    message = failure(folder, extensions=("avi",))
    assert "10 files were skipped by extension" in message
    assert "4 .mp4" in message and "source.extensions" in message
    assert "no folder" in failure(tmp_path / "nope/*.mp4")
    assert "/**" in failure(f"{folder}/a-*")
    url = failure("https://me:hush@example.com/a.mp4?token=hush")
    assert "manifest" in url and "example.com/a.mp4" in url and "hush" not in url
    assert "empty" in failure("")
    with open(os.fsencode(tmp_path / "empty") + b"/bad\xff.mp4", "wb"):
        pass
    assert r"bad\xff.mp4" in failure(tmp_path / "empty")


def test_unreadable_folder_is_an_error_not_a_gap(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("/deep"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert failure(folder) == f"the folder {folder}/a/deep cannot be listed: Permission denied"


# ---- several inputs


def test_inputs_come_one_after_the_other(folder: Path, tmp_path: Path) -> None:
    found = stream(folder / "a", f"{folder}/a/*.mkv", tmp_path / "nope")
    listed = [next(found).video_id for _ in range(4)]
    assert listed == ["deep/er/three.webm", "one.MP4", "two.mkv", "two.mkv"]
    with pytest.raises(SourceError, match="nope"):
        next(found)


# ---- manifests


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


# ---- S3


@pytest.fixture(params=["gateway", "moto"])
def s3(request: pytest.FixtureRequest) -> tuple[str, Any, StorageOptions]:
    """A new bucket, a client and options, on each of the two servers."""
    if request.param == "gateway":
        server: S3Gateway = request.getfixturevalue("gateway")
        # Found by AWS_ENDPOINT_URL, as a user of the standard chain expects.
        return request.getfixturevalue("gateway_bucket"), server.client(), StorageOptions()
    url = request.getfixturevalue("moto_url")
    client = request.getfixturevalue("moto_client")
    return request.getfixturevalue("moto_bucket"), client, moto(url)


def test_s3_prefixes_and_objects(s3: tuple[str, Any, StorageOptions]) -> None:
    bucket, client, storage = s3
    put_objects(
        client,
        bucket,
        {
            "videos/": b"",
            "videos/b.mp4": b"x",
            "videos/a/one.MP4": b"x",
            "videos/a/": b"",
            "videos/a/empty.mkv": b"",
            "videos/a/notes.txt": b"x",
            "videos/.cache/x.mp4": b"x",
            "videos/_temporary/0/x.mp4": b"x",
            "videos/_SUCCESS": b"",
            "videos-2/ü c+d&e%20f.mp4": b"x",
        },
    )
    expected = [
        Input("a/empty.mkv", f"s3://{bucket}/videos/a/empty.mkv", None, md5(b"")),
        Input("a/one.MP4", f"s3://{bucket}/videos/a/one.MP4", None, md5(b"x")),
        Input("b.mp4", f"s3://{bucket}/videos/b.mp4", None, md5(b"x")),
    ]
    assert listed(f"s3://{bucket}/videos/", storage=storage) == expected
    assert listed(f"s3://{bucket}/videos", storage=storage) == expected
    everything = ids(f"s3://{bucket}", storage=storage)
    assert everything == [
        "videos-2/ü c+d&e%20f.mp4",
        "videos/a/empty.mkv",
        "videos/a/one.MP4",
        "videos/b.mp4",
    ]
    # The empty objects that stand for folders are no files, whatever the filter says.
    assert ids(f"s3://{bucket}/videos/a", storage=storage, extensions=("*",)) == [
        "empty.mkv",
        "notes.txt",
        "one.MP4",
    ]
    # No folder of that name, but keys that begin so.
    assert ids(f"s3://{bucket}/videos-", storage=storage) == ["videos-2/ü c+d&e%20f.mp4"]
    single = listed(f"s3a://{bucket}/videos/b.mp4", storage=storage)
    assert single == [Input("b.mp4", f"s3://{bucket}/videos/b.mp4", None, md5(b"x"))]


def test_s3_manifests(s3: tuple[str, Any, StorageOptions]) -> None:
    bucket, client, storage = s3
    table = pa.table({"path": ["sub/a.mp4", "../b.mp4", "s3://else/c.mp4"], "n": [1, 2, 3]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    put_objects(
        client,
        bucket,
        {
            "lists/l.parquet": sink.getvalue().to_pybytes(),
            "lists/l.csv": b"path,n\nsub/a.mp4,1\n../b.mp4,2\ns3://else/c.mp4,3\n",
            "lists/l.txt": b"../../x.mp4",
        },
    )
    expected = [
        ("sub/a.mp4", f"s3://{bucket}/lists/sub/a.mp4"),
        (f"{bucket}/b.mp4", f"s3://{bucket}/b.mp4"),
        ("else/c.mp4", "s3://else/c.mp4"),
    ]
    for name in ("l.parquet", "l.csv"):
        found = listed(f"s3://{bucket}/lists/{name}", storage=storage)
        assert [(each.video_id, each.uri) for each in found] == expected
    assert found[0].metadata == '{"n": "1"}'
    assert "leads out of the bucket" in failure(f"s3://{bucket}/lists/l.txt", storage=storage)


def test_listing_is_lazy(
    moto_url: str, moto_bucket: str, moto_client: Any, fault_proxy: Start
) -> None:
    count = 3_300
    fill_moto_bucket(moto_bucket, (f"many/{number:06}.mp4" for number in range(count)))
    proxy = fault_proxy(moto_url)

    def pages() -> int:
        return sum("list-type=2" in request.target for request in proxy.requests)

    found = stream(f"s3://{moto_bucket}/many", storage=moto(proxy.endpoint_url))
    assert pages() == 0
    first = list(itertools.islice(found, 1000))
    assert pages() == 1
    assert next(found).video_id == "001000.mp4"
    assert pages() == 2
    rest = [each.video_id for each in found]
    assert pages() == 4
    assert len(first) + 1 + len(rest) == count
    assert rest[-1] == f"{count - 1:06}.mp4"


def test_listing_through_faults(
    s3: tuple[str, Any, StorageOptions], gateway: S3Gateway, fault_proxy: Start
) -> None:
    bucket, client, storage = s3
    names = [f"{number:03}.mp4" for number in range(40)]
    put_objects(client, bucket, {f"v/{name}": b"x" for name in names})
    put_objects(client, bucket, {"l.csv": ("uri\n" + "\n".join(names)).encode()})
    proxy = fault_proxy(storage.endpoint_url or gateway.endpoint_url, seed=3)
    proxy.break_requests(
        {"slow_down": 0.08, "reset": 0.08, "cut": 0.09, "cut_quietly": 0.08, "stall": 0.05},
        stall_sec=0.05,
    )
    broken = StorageOptions(endpoint_url=proxy.endpoint_url, retries=8)
    for _ in range(6):
        assert ids(f"s3://{bucket}/v", storage=broken) == names
        assert ids(f"s3://{bucket}/l.csv", storage=broken) == names
    assert proxy.counts.total() - proxy.counts["passed"] >= 5, proxy.counts


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("slow_down", "the last: SlowDown (HTTP 503)"),
        ("reset", "endpoint_url"),
        ("cut", "Connection was closed"),
        ("cut_quietly", "the last: HTTP 500"),
    ],
)
def test_storage_that_never_answers_is_an_error(
    kind: str,
    message: str,
    s3: tuple[str, Any, StorageOptions],
    gateway: S3Gateway,
    fault_proxy: Start,
) -> None:
    bucket, client, storage = s3
    put_objects(client, bucket, {"v/a.mp4": b"x"})
    proxy = fault_proxy(storage.endpoint_url or gateway.endpoint_url)
    proxy.break_requests({kind: 1.0}, methods={"GET"})
    broken = StorageOptions(endpoint_url=proxy.endpoint_url, retries=2)
    text = failure(f"s3://{bucket}/v", storage=broken)
    assert message in text and f"s3://{bucket}/v" in text
    # The first try and two more; a broken connection is tried once more by the HTTP client.
    assert proxy.counts[kind] == (6 if kind == "reset" else 3)


def test_endpoint_that_is_wrong(gateway: S3Gateway) -> None:
    nobody = StorageOptions(endpoint_url="http://127.0.0.1:9", retries=0)
    assert "endpoint_url" in failure("s3://bucket/v", storage=nobody)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoint_url": "minio:9000"}, "http://HOST:PORT"),
        ({"endpoint_url": "http://"}, "http://HOST:PORT"),
        ({"endpoint_url": "https://AKIA:hushhush@minio"}, "standard AWS chain"),
        ({"region": "no_where"}, "region"),
    ],
)
def test_ways_to_s3_that_cannot_be(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(StorageOptions, None, flags=options)
    assert "hushhush" not in str(caught.value)


def test_errors_of_s3(s3: tuple[str, Any, StorageOptions]) -> None:
    bucket, client, storage = s3
    put_objects(client, bucket, {"v/a.txt": b"x"})
    nowhere = failure("s3://no-such-bucket-1/v", storage=storage)
    assert nowhere == "there is no bucket at s3://no-such-bucket-1/v/"
    missing = failure(f"s3://{bucket}/nope", storage=storage)
    assert missing == f"nothing at s3://{bucket}/nope: no object has a key that begins with this"
    assert "1 file was skipped by extension (1 .txt)" in failure(
        f"s3://{bucket}/v", storage=storage
    )
    assert "no file matches" in failure(f"s3://{bucket}/w/*.mp4", storage=storage)
    assert "names no bucket" in failure("s3:///v", storage=storage)
    assert "names no bucket" in failure("s3://not a bucket/v", storage=storage)


class _Repeating(BaseHTTPRequestHandler):
    """Answers every request with the same page of a listing that says it goes on."""

    def do_GET(self) -> None:
        entry = "<Key>v/a.mp4</Key><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified>"
        body = (
            "<ListBucketResult><IsTruncated>true</IsTruncated>"
            "<NextContinuationToken>again</NextContinuationToken>"
            f"<Contents>{entry}</Contents></ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *_: Any) -> None:
        pass


def test_a_listing_whose_pages_repeat_ends(gateway: S3Gateway) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Repeating) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        storage = StorageOptions(endpoint_url=f"http://127.0.0.1:{server.server_port}", retries=0)
        found = stream("s3://bucket/v", storage=storage)
        with pytest.raises(SourceError, match=r"s3://bucket/v/ does not end: its pages repeat"):
            list(itertools.islice(found, 10))
        server.shutdown()


def test_denied_access_is_told_without_secrets(
    gateway: S3Gateway, gateway_bucket: str, monkeypatch: pytest.MonkeyPatch, new_clients: None
) -> None:
    put_objects(gateway.client(), gateway_bucket, {"v/a.mp4": b"x", "l.csv": b"uri\na.mp4\n"})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hushhushhush")
    for path in ("v", "v/a.mp4", "l.csv", "v/*.mp4"):
        message = failure(f"s3://{gateway_bucket}/{path}")
        assert message.startswith(f"access to s3://{gateway_bucket}/"), message
        assert "denied" in message and "credentials" in message
        assert "hush" not in message and gateway.env["AWS_ACCESS_KEY_ID"] not in message
    anonymous = StorageOptions(anonymous=True)
    assert "denied" in failure(f"s3://{gateway_bucket}/v", storage=anonymous)


def test_no_credentials(
    gateway: S3Gateway, monkeypatch: pytest.MonkeyPatch, new_clients: None
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    message = failure("s3://bucket/v")
    assert message.startswith("no credentials for s3://bucket/v")
    assert "anonymous" in message
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    s3_client.cache_clear()
    assert "nobody" in failure("s3://bucket/v")


def test_anonymous_reads_public_data(
    moto_url: str, moto_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(moto_client)
    put_objects(moto_client, bucket, {"v/a.mp4": b"x"})
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    public = moto(moto_url, anonymous=True, region="eu-west-1")
    assert ids(f"s3://{bucket}/v", storage=public) == ["a.mp4"]


def test_reading_rights_alone_suffice_for_a_named_object(
    moto_url: str, moto_bucket: str, moto_client: Any
) -> None:
    """A key that only HEAD may see is taken; nothing is listed for it."""
    put_objects(moto_client, moto_bucket, {"v/a.mp4": b"x"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "actors.storage.s3.S3Client.objects",
            lambda *_: (_ for _ in ()).throw(AssertionError),
        )
        assert ids(f"s3://{moto_bucket}/v/a.mp4", storage=moto(moto_url)) == ["a.mp4"]
