"""Inputs from two S3 servers, and from ones that break."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.storage.s3 import s3_client
from rayjob.inputs.listing import Input
from rayjob.settings.loading import read_config
from schemas.errors import ConfigError, SourceError
from schemas.media import StorageOptions
from tests.support.fault_proxy import FaultProxy
from tests.support.inputs import failure, ids, listed, moto, stream
from tests.support.services import fill_moto_bucket, new_bucket, put_objects
from tinyworld.s3 import S3Gateway

Start = Callable[..., FaultProxy]


def md5(data: bytes) -> str:
    """The ETag of an object that came in one piece."""
    return hashlib.md5(data).hexdigest()


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
