"""A folder of a storage on a node: whole, once, and safe from what its names say."""

from __future__ import annotations

import multiprocessing
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from actors.storage import folder
from actors.storage.folder import FolderFile, StoredFolder
from schemas.errors import (
    AccessDeniedError,
    NoSuchPlaceError,
    NotFoundError,
    OpenError,
    ReplacedError,
    StorageUnavailableError,
)
from schemas.media import StorageOptions
from tests.support.fault_proxy import FaultProxy
from tests.support.services import put_objects
from tinyworld.s3 import S3Gateway

FILES = {
    "config.json": b"{}",
    "model-00001.safetensors": random.Random(1).randbytes(700_000),
    "model-00002.safetensors": random.Random(2).randbytes(300_001),
    "empty.txt": b"",
    "deeper/more.txt": b"more",
}


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_RANGE_BYTES", 100_000)


@pytest.fixture
def address(gateway: S3Gateway, gateway_bucket: str) -> str:
    objects = {f"models/tiny/{name}": body for name, body in FILES.items()}
    # Its name begins alike.
    put_objects(gateway.client(), gateway_bucket, objects | {"models/tiny-2/config.json": b"[]"})
    return f"s3://{gateway_bucket}/models/tiny"


def content(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_copy_is_whole_and_made_once(address: str, slash: str, tmp_path: Path) -> None:
    stored = StoredFolder.listed(address + slash, StorageOptions())
    assert {file.name: file.size for file in stored.files} == {
        name: len(body) for name, body in FILES.items()
    }
    place = stored.fetch(tmp_path / "copies")
    assert content(place) == FILES
    assert re.fullmatch("tiny-[0-9a-f]{12}", place.name)
    times = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    assert stored.fetch(tmp_path / "copies") == place
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == times


def test_any_storage_that_fsspec_knows(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name, body in FILES.items():
        memory.pipe(f"/bucket/tiny/{name}", body)
    place = StoredFolder.listed("memory://bucket/tiny", StorageOptions()).fetch(tmp_path)
    assert content(place) == FILES


def _fetch(stored: StoredFolder, into: Path, results: Any) -> None:
    folder._RANGE_BYTES = 100_000
    results.put((str(stored.fetch(into)), time.monotonic()))


def test_processes_that_ask_at_once_read_it_once(
    address: str, gateway: S3Gateway, fault_proxy: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    proxy = fault_proxy(gateway.endpoint_url)
    stored = StoredFolder.listed(address, StorageOptions(endpoint_url=proxy.endpoint_url))
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    processes = [spawn.Process(target=_fetch, args=(stored, tmp_path, results)) for _ in range(2)]
    for process in processes:
        process.start()
    places = {results.get(timeout=60)[0] for _ in processes}
    for process in processes:
        process.join()
    (place,) = places
    assert content(Path(place)) == FILES
    reads = [each.target for each in proxy.requests if "safetensors" in each.target]
    assert len(reads) == 7 + 4, reads


def test_a_copy_that_was_cut_off_goes_on(
    address: str, gateway: S3Gateway, fault_proxy: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    proxy = fault_proxy(gateway.endpoint_url)
    options = StorageOptions(endpoint_url=proxy.endpoint_url, retries=1)
    stored = StoredFolder.listed(address, options)
    proxy.break_requests({"cut": 1.0}, path="00002")
    with pytest.raises(StorageUnavailableError):
        stored.fetch(tmp_path)
    (place,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert content(place)["model-00001.safetensors"] == FILES["model-00001.safetensors"]
    assert not (place / "model-00002.safetensors").exists()
    # Half a file under its full name, as another program may leave it, is not one.
    (place / "config.json").write_bytes(b"")
    proxy.break_requests({})
    before = len(proxy.requests)
    assert stored.fetch(tmp_path) == place
    assert content(place) == FILES
    assert not any("00001" in each.target for each in proxy.requests[before:])


def test_another_content_is_another_copy(address: str, gateway: S3Gateway, tmp_path: Path) -> None:
    stored = StoredFolder.listed(address, StorageOptions())
    bucket, key = address.removeprefix("s3://").split("/", 1)
    put_objects(gateway.client(), bucket, {f"{key}/config.json": b"[]"})
    with pytest.raises(ReplacedError):
        stored.fetch(tmp_path / "a")
    place = StoredFolder.listed(address, StorageOptions()).fetch(tmp_path / "b")
    assert (place / "config.json").read_bytes() == b"[]"


def test_what_cannot_be_listed(
    gateway: S3Gateway, gateway_bucket: str, fault_proxy: Callable[..., FaultProxy]
) -> None:
    with pytest.raises(NotFoundError, match="nothing below"):
        StoredFolder.listed(f"s3://{gateway_bucket}/nothing", StorageOptions())
    with pytest.raises(NoSuchPlaceError):
        StoredFolder.listed("s3://no-such-bucket-at-all/model", StorageOptions())
    proxy = fault_proxy(gateway.endpoint_url)
    proxy.break_requests({"denied": 1.0})
    with pytest.raises(AccessDeniedError):
        StoredFolder.listed(
            f"s3://{gateway_bucket}/m", StorageOptions(endpoint_url=proxy.endpoint_url)
        )
    with pytest.raises(OpenError, match="web server"):
        StoredFolder.listed("https://host/model", StorageOptions())


@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "/escaped", "a//b", "./a"])
def test_names_that_lead_out_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_files", lambda *_: [FolderFile(name, 1, None)])
    with pytest.raises(OpenError, match="holds a file of the name"):
        StoredFolder.listed("s3://bucket/model", StorageOptions())


def test_a_disk_that_is_too_small_is_noticed_before_it_is_full(tmp_path: Path) -> None:
    huge = FolderFile("model.safetensors", 1 << 60, None)
    stored = StoredFolder(address="s3://b/m", files=(huge,), options=StorageOptions())
    with pytest.raises(OSError, match="do not fit"):
        stored.fetch(tmp_path)
