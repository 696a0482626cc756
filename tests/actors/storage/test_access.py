"""Range reads: right bytes in spite of faults, few requests, and errors a person understands."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from actors.storage.access import open_range, read_whole
from actors.storage.client import Head
from actors.storage.range_reader import MIN_REQUEST_BYTES, RangeReader, Span
from actors.storage.s3 import s3_client
from schemas.errors import (
    Cause,
    CredentialsError,
    EmptyFileError,
    NoSuchPlaceError,
    NotFoundError,
    OpenError,
    ReplacedError,
    StorageUnavailableError,
    VideoError,
)
from schemas.media import StorageOptions
from tests.support.fault_proxy import FaultProxy

DATA = random.Random(7).randbytes(3_000_000)


class Memory:
    """Bytes that remembers its requests."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.spans: list[Span] = []

    def fetch(self, start: int, stop: int) -> bytes:
        self.spans.append((start, stop))
        return self.data[start:stop]


def reader_of(data: bytes = DATA, **options: int) -> tuple[RangeReader, Memory]:
    memory = Memory(data)
    return RangeReader(memory.fetch, size=len(data), name="clip.mp4", **options), memory


def read_all(reader: RangeReader, size: int = 10_000) -> bytes:
    parts = []
    while part := reader.read(size):
        parts.append(part)
    return b"".join(parts)


def test_reads_are_right_in_any_order() -> None:
    reader, _ = reader_of(cache_bytes=500_000)
    chance = random.Random(3)
    for _ in range(500):
        start, size = chance.randrange(len(DATA)), chance.randrange(1, 60_000)
        reader.seek(start)
        part = reader.read(size)
        assert part
        assert part == DATA[start : start + len(part)]
        assert reader.tell() == start + len(part)


def test_nothing_is_read_twice_while_it_fits() -> None:
    reader, memory = reader_of()
    for _ in range(2):
        reader.seek(0)
        assert read_all(reader) == DATA
    assert reader.bytes_read == len(DATA)
    assert len(memory.spans) == reader.requests < 12


def test_a_small_file_is_one_request() -> None:
    reader, memory = reader_of(DATA[:500_000])
    reader.seek(100_000)
    reader.read(10)
    reader.seek(0)
    assert read_all(reader) == DATA[:500_000]
    assert len(memory.spans) == 1


def test_announced_ranges_are_fetched_whole_and_nothing_beyond() -> None:
    reader, memory = reader_of()
    reader.expect([(100_000, 900_000), (2_000_000, 2_500_000)])
    for start, stop in ((100_000, 900_000), (2_000_000, 2_500_000)):
        reader.seek(start)
        while reader.tell() < stop:
            reader.read(min(32_768, stop - reader.tell()))
    assert memory.spans == [(100_000, 900_000), (2_000_000, 2_500_000)]
    reader.seek(1_500_000)
    reader.read(10)
    assert memory.spans[-1] == (1_500_000, 1_500_000 + MIN_REQUEST_BYTES)


def test_a_large_read_is_one_request_up_to_the_largest() -> None:
    reader, memory = reader_of()
    whole = io.BufferedReader(reader, buffer_size=1)
    whole.seek(1_000_000)
    assert whole.read(1_500_000) == DATA[1_000_000:2_500_000]
    assert memory.spans == [(1_000_000, 2_500_000)]
    whole.seek(900_000)
    assert whole.read(200_000) == DATA[900_000:1_100_000]
    assert memory.spans[1:] == [(900_000, 1_000_000)]


def test_seek_and_end() -> None:
    reader, _ = reader_of(DATA[:1000])
    assert reader.seek(-10, 2) == 990
    assert reader.read(100) == DATA[990:1000]
    assert reader.read(100) == b""
    assert reader.seek(5000) == 5000
    assert reader.read(1) == b""


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_local_paths(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a b.bin"
    path.write_bytes(DATA)
    with open_range(form.format(path), StorageOptions()) as reader:
        assert read_all(reader) == DATA
        assert reader.size == len(DATA)


@pytest.fixture
def stored(moto_client: Any, moto_bucket: str) -> str:
    moto_client.put_object(Bucket=moto_bucket, Key="a folder/clip é?.mp4", Body=DATA)
    moto_client.put_object(Bucket=moto_bucket, Key="empty.mp4", Body=b"")
    return moto_bucket


KEY = "a folder/clip é?.mp4"


def test_s3(moto_url: str, stored: str) -> None:
    with open_range(f"s3://{stored}/{KEY}", StorageOptions(endpoint_url=moto_url)) as reader:
        assert read_all(reader, 32_768) == DATA
        assert reader.size == reader.bytes_read == len(DATA)
        assert reader.requests < 10


@pytest.mark.parametrize("key", ["q?versionId=1.mp4", "a//b.mp4", "/c#d%20e.mp4", "f+g&h?.mp4"])
def test_keys_are_taken_as_they_are(
    moto_url: str, moto_client: Any, moto_bucket: str, key: str
) -> None:
    moto_client.put_object(Bucket=moto_bucket, Key=key, Body=key.encode())
    uri, options = f"s3://{moto_bucket}/{key}", StorageOptions(endpoint_url=moto_url, retries=0)
    assert read_whole(uri, options).decode() == key


def test_a_whole_file(tmp_path: Path, moto_url: str, stored: str) -> None:
    options = StorageOptions(endpoint_url=moto_url)
    assert read_whole(f"s3://{stored}/{KEY}", options) == DATA
    assert read_whole(f"s3://{stored}/empty.mp4", options) == b""
    (tmp_path / "a").write_bytes(DATA)
    assert read_whole(str(tmp_path / "a"), options) == DATA


def test_a_driver_of_fsspec_that_knows_no_event_loop() -> None:
    fsspec.filesystem("memory").pipe_file("/folder/clip.mp4", DATA)
    with open_range("memory://folder/clip.mp4", StorageOptions()) as reader:
        assert read_all(reader) == DATA
    with pytest.raises(NotFoundError):
        open_range("memory://folder/nothing.mp4", StorageOptions())
    with pytest.raises(NotFoundError, match="folder"):
        open_range("memory://folder", StorageOptions())


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://host/a.mp4", "zip://a.mp4", "tar://a.mp4", "dir://a.mp4", "reference://a.mp4",
        "github://a.mp4", "generic://a.mp4", "simplecache://a.mp4", "unknown://a.mp4",
    ],
)  # fmt: skip
def test_a_driver_that_the_address_does_not_tell_enough(uri: str) -> None:
    with pytest.raises(OpenError, match="cannot open") as caught:
        open_range(uri, StorageOptions())
    assert type(caught.value) is OpenError and caught.value.cause is Cause.REFUSED


@pytest.mark.parametrize("kind", ["moto", "gateway", "web"])
@pytest.mark.parametrize("size", [len(DATA), len(DATA) // 2])
def test_two_versions_never_make_one_file(
    kind: str, size: int, request: pytest.FixtureRequest, moto_url: str
) -> None:
    """Replaced between two ranges, by one of the same length or a shorter one."""
    at = "gateway" if kind == "gateway" else "moto"
    bucket = request.getfixturevalue(f"{at}_bucket")
    gateway = request.getfixturevalue("gateway")
    client = request.getfixturevalue("moto_client") if at == "moto" else gateway.client()
    url = moto_url if at == "moto" else gateway.endpoint_url
    client.put_object(Bucket=bucket, Key="clip.mp4", Body=DATA, ACL="public-read")
    uri = f"{url}/{bucket}/clip.mp4" if kind == "web" else f"s3://{bucket}/clip.mp4"
    options = StorageOptions(endpoint_url=url, retries=1, places=(url,))
    with open_range(uri, options) as reader:
        assert reader.read(1000) == DATA[:1000]
        again = DATA[::-1][:size]
        client.put_object(Bucket=bucket, Key="clip.mp4", Body=again, ACL="public-read")
        reader.seek(1_000_000)
        with pytest.raises(ReplacedError, match=r"clip\.mp4 was replaced while"):
            reader.read(1000)
    assert read_whole(uri, options) == again, "another reading begins anew"


def test_a_whole_file_that_is_replaced_is_read_anew(
    moto_url: str, moto_client: Any, moto_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = s3_client(StorageOptions(endpoint_url=moto_url, retries=0))
    moto_client.put_object(Bucket=moto_bucket, Key="a", Body=b"the first of them")
    heads, head = 0, client._head

    async def replacing(uri: str) -> Head:
        nonlocal heads
        heads += 1
        found = await head(uri)
        if heads == 1:
            moto_client.put_object(Bucket=moto_bucket, Key="a", Body=b"another")
        return found

    monkeypatch.setattr(client, "_head", replacing)
    assert client.read_whole(f"s3://{moto_bucket}/a") == b"another"
    assert heads == 2


@pytest.mark.parametrize("kind", ["slow_down", "reset", "cut", "cut_quietly"])
def test_faults_are_retried(
    moto_url: str, stored: str, fault_proxy: Callable[..., FaultProxy], kind: str
) -> None:
    proxy = fault_proxy(moto_url, seed=1)
    proxy.break_requests({kind: 0.34})
    options = StorageOptions(endpoint_url=proxy.endpoint_url, timeout_sec=5)
    with open_range(f"s3://{stored}/{KEY}", options) as reader:
        assert read_all(reader, 32_768) == DATA


def test_a_storage_that_never_answers_properly(
    moto_url: str, stored: str, fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = fault_proxy(moto_url)
    proxy.break_requests({"slow_down": 1.0})
    options = StorageOptions(endpoint_url=proxy.endpoint_url, retries=2)
    with pytest.raises(StorageUnavailableError, match=r"3 attempts.*503") as caught:
        open_range(f"s3://{stored}/{KEY}", options)
    assert caught.value.cause is Cause.AVAILABILITY


def test_a_storage_that_does_not_answer_in_time(
    moto_url: str, stored: str, fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = fault_proxy(moto_url)
    options = StorageOptions(endpoint_url=proxy.endpoint_url, retries=1, timeout_sec=0.5)
    reader = open_range(f"s3://{stored}/{KEY}", options)
    proxy.break_requests({"stall": 1.0}, stall_sec=3.0)
    with pytest.raises(StorageUnavailableError, match="no answer in time"):
        reader.read(10)


def test_no_server_at_all() -> None:
    options = StorageOptions(endpoint_url="http://127.0.0.1:9", retries=1)
    with pytest.raises(StorageUnavailableError):
        open_range("s3://bucket/clip.mp4", options)


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("s3://{}/nothing.mp4", NotFoundError),
        ("s3://{}/empty.mp4", EmptyFileError),
        ("s3://no-such-bucket-here/clip.mp4", NoSuchPlaceError),
        ("unknown://host/clip.mp4", OpenError),
        ("/no/such/file.mp4", NoSuchPlaceError),
    ],
)
def test_what_cannot_be_opened(
    moto_url: str, stored: str, uri: str, kind: type[VideoError]
) -> None:
    with pytest.raises(kind) as caught:
        open_range(uri.format(stored), StorageOptions(endpoint_url=moto_url, retries=1))
    assert type(caught.value) is kind


def test_a_disk_that_is_not_mounted_is_no_missing_file(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    for path in ("disk/clip.mp4", "disk/folder/clip.mp4"):
        with pytest.raises(NoSuchPlaceError, match="its folder is missing or empty"):
            open_range(str(tmp_path / path), StorageOptions())
    with pytest.raises(NotFoundError) as caught:
        open_range(str(tmp_path / "clip.mp4"), StorageOptions())
    assert type(caught.value) is NotFoundError


def test_unreadable_key(
    gateway: Any, gateway_bucket: str, monkeypatch: Any, new_clients: None
) -> None:
    gateway.client().put_object(Bucket=gateway_bucket, Key="clip.mp4", Body=b"x" * 100)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "Wr0ngS3cret")
    options = StorageOptions(endpoint_url=gateway.endpoint_url, retries=1)
    with pytest.raises(CredentialsError, match="SignatureDoesNotMatch") as caught:
        open_range(f"s3://{gateway_bucket}/clip.mp4", options)
    assert "Wr0ngS3cret" not in str(caught.value)
