"""An output, and inputs, in Google Cloud Storage: here its emulator, behind the driver.

The emulator carries out conditional writes as if they had no condition; that they are asked for
shows in the requests.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator

import pytest

from actors.storage.access import read_whole
from rayjob.output.ledger import Ledger
from rayjob.output.lock import RunLock
from rayjob.output.store import TableStore
from schemas.errors import OutputLockedError, UsageError
from schemas.media import StorageOptions
from tests.support.fault_proxy import FaultProxy
from tests.support.inputs import listed
from tests.support.outputs import (
    OMNI,
    captioned,
    failed,
    files,
    ids_in,
    names,
    reconcile,
    write,
)

OPTIONS = StorageOptions(retries=15)


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    from gcp_storage_emulator.server import create_server

    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def proxy(
    emulator: str,
    fault_proxy: Callable[..., FaultProxy],
    monkeypatch: pytest.MonkeyPatch,
    new_clients: None,
) -> FaultProxy:
    proxy = fault_proxy(emulator, seed=3)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.endpoint_url)
    # Asks for the kind of the bucket elsewhere, which the emulator does not know.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    return proxy


@pytest.fixture
def store(proxy: FaultProxy, request: pytest.FixtureRequest) -> TableStore:
    return TableStore(f"gs://bucket/{request.node.name}/out put+1", OPTIONS)


def test_files(store: TableStore) -> None:
    assert not store.exists("runs/a") and list(store.list("runs")) == []
    for data in (b"one", b"another", b""):
        store.write_bytes("runs/a", data)
        assert store.read_bytes("runs/a") == data
    store.write_lines("exports/b.txt", ["one\n", "two\n"])
    assert store.read_bytes("exports/b.txt") == b"one\ntwo\n"
    found = list(store.list(""))
    assert [(each.path, each.size) for each in found] == [("exports/b.txt", 8), ("runs/a", 0)]
    assert all(each.modified > 1e9 for each in found)
    for _ in range(2):
        store.delete("runs/a")
    with pytest.raises(FileNotFoundError):
        store.read_bytes("runs/a")
    store.sweep()


def test_what_is_to_be_written_once_says_so(store: TableStore, proxy: FaultProxy) -> None:
    store.write_bytes("runs/a", b"1")
    assert not any("ifGenerationMatch" in each.target for each in proxy.requests)
    store.write_bytes("runs/b", b"1", once=True)
    assert [each.method for each in proxy.requests if "ifGenerationMatch=0" in each.target] == [
        "POST"
    ]


def test_tables_and_the_lock_although_requests_fail(store: TableStore, proxy: FaultProxy) -> None:
    kinds = ("internal", "slow_down", "reset", "reset_after", "cut")
    proxy.break_requests(dict.fromkeys(kinds, 0.05))
    with RunLock(store, "first") as lock:
        assert lock.epoch == 1
        with pytest.raises(OutputLockedError):
            RunLock(store, "second").acquire()
        write(store, "r1", captioned(names(8)), failed(names(2, first=8), transient=True), rows=4)
        write(store, "r2", captioned(names(1, first=8)))
    assert files(store, "runs/_locks") == []
    ledger = Ledger(store, tables=OMNI)
    assert reconcile(ledger) == 1
    done = ledger.load(retry_failed=False)
    assert (len(done.done), len(done.attempts)) == (9, 1)
    assert ids_in(store, "captions") == names(9)
    assert sum(proxy.counts[each] for each in kinds) > 3


def test_inputs(store: TableStore) -> None:
    for name in ("b.mp4", "a/x.mp4", "notes.md"):
        store.write_bytes(f"in/{name}", name.encode())
    folder = store.url_of("in")
    found = listed(folder, storage=OPTIONS)
    assert [(each.video_id, each.uri) for each in found] == [
        ("a/x.mp4", f"{folder}/a/x.mp4"), ("b.mp4", f"{folder}/b.mp4"),
    ]  # fmt: skip
    assert read_whole(found[1].uri, OPTIONS) == b"b.mp4"
    (before,) = listed(f"{folder}/b.mp4", storage=OPTIONS)
    assert before == found[1] and before.source_version
    store.write_bytes("in/b.mp4", b"another")
    (after,) = listed(f"{folder}/b.mp4", storage=OPTIONS)
    assert after.source_version != before.source_version


def test_no_such_bucket(store: TableStore) -> None:
    with pytest.raises(UsageError, match="cannot write gs://there-is-none/out/a"):
        TableStore("gs://there-is-none/out", OPTIONS).write_bytes("a", b"")
