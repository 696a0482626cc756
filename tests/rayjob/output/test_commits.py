"""Who reads by the newest list sees each key once, whatever lands late."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rayjob.exporting import after_run
from rayjob.inputs.earlier_captions import iter_material
from rayjob.output.commits import Commit, claim, newest_lists, revisions, shards
from rayjob.output.layout import ShardName
from rayjob.output.ledger import Ledger
from rayjob.output.lock import RunLock
from rayjob.output.shards import ShardSink
from rayjob.output.store import TableStore
from rayjob.reporting.reading import list_parts
from schemas.config import ShardConfig
from schemas.errors import LockLostError
from schemas.media import StorageOptions
from tests.support.outputs import (
    NO_LOCK,
    OMNI,
    Crash,
    FaultyStore,
    Unlocked,
    captioned,
    failed,
    files,
    ids_in,
    names,
    open_store,
    settled,
    together,
)


class HeldStore(TableStore):
    """Keeps the writes of shards back, as a connection may that hangs on its way."""

    def __init__(self, store: TableStore) -> None:
        super().__init__(store.root if store.is_local else store.url, store.options)
        self.held: list[Callable[[], None]] = []

    def write_bytes(self, path: str, data: bytes, **options: Any) -> None:
        if path.endswith(".parquet"):
            options.pop("guard", None)  # it was asked before
            self.held.append(lambda: TableStore.write_bytes(self, path, data, **options))
        else:
            super().write_bytes(path, data, **options)


def write(store: TableStore, run_id: str, *results: Any, lock: Any) -> None:
    sink = ShardSink(
        store, tables=OMNI, run_id=run_id, config=ShardConfig(rows=100), lock=lock,
    )  # fmt: skip
    sink.write(together(results))
    sink.close()


def exact(store: TableStore, table: str = "captions") -> list[str]:
    """The ids that a reader finds who goes by the newest list alone."""
    counting = newest_lists(store)["omni"]
    found: list[str] = []
    for path in counting.captions if table == "captions" else counting.failures:
        found += _ids(store, path)
    return sorted(found)


def _ids(store: TableStore, path: str) -> list[str]:
    with store.open_parquet(path) as file:
        ids: list[str] = file.read(columns=["video_id"]).column("video_id").to_pylist()
    return ids


def read_by_us(store: TableStore) -> list[str]:
    """The ids in the captions that the commands read."""
    return sorted(id for entry in shards(store, "captions") for id in _ids(store, entry.path))


def test_an_upload_that_lands_after_the_next_run_is_not_read(store: TableStore) -> None:
    dead = Unlocked(epoch=1)
    write(held := HeldStore(store), "r1", captioned(names(3)), failed(["x"]), lock=dead)
    lock = Unlocked(epoch=1)
    settled(Ledger(store, tables=OMNI), lock)
    write(store, "r1", captioned(names(4)), lock=lock)
    settled(Ledger(store, tables=OMNI), lock)
    for land in held.held:
        land()
    assert len(ids_in(store, "captions")) == 7, "a plain read sees both"
    assert exact(store) == read_by_us(store) == names(4)
    assert exact(store, "failures") == []
    assert not list(shards(store, "failures"))
    fused = iter_material([store.url], recipe="omni", storage=store.options)
    assert sorted(each.video_id for each in fused) == names(4)
    assert sum(len(part.files) for part in list_parts(store, "captions")) == 1
    after_run.write_jsonl(store, OMNI, "omni", reward_words=200)
    assert len(store.read_bytes("exports/omni.jsonl").splitlines()) == 4
    # The next start sorts it out: what is newer stays.
    settled(Ledger(store, tables=OMNI), lock)
    assert ids_in(store, "captions") == exact(store) == names(4)
    assert exact(store, "failures") == ids_in(store, "failures") == ["x"]
    (path,) = newest_lists(store)["omni"].captions
    assert ShardName.parse(path).epoch == 2


def test_a_late_rewrite_brings_no_superseded_row_back(store: TableStore) -> None:
    lock = Unlocked(epoch=1)
    write(store, "r1", failed(["u", "v", "w"], transient=True), lock=lock)
    write(store, "r2", captioned(["v"]), lock=lock)
    dead = Unlocked(epoch=2)
    held = HeldStore(store)
    with pytest.raises(Stopped):
        Ledger(held, tables=OMNI).reconcile(Stops(dead, after=1))
    assert len(held.held) == 1, "it stopped between the guard and the write"
    lock.epoch = 3
    Ledger(store, tables=OMNI).reconcile(lock)  # type: ignore[arg-type]
    write(store, "r3", captioned(["w"]), lock=lock)
    settled(Ledger(store, tables=OMNI), lock)
    before = files(store, "failures")
    held.held[0]()
    assert len(files(store, "failures")) == len(before) + 1
    assert ids_in(store, "failures").count("w") == 1
    assert (exact(store), exact(store, "failures")) == (["v", "w"], ["u"])
    assert [_ids(store, each.path) for each in shards(store, "failures")] == [["u"]]
    settled(Ledger(store, tables=OMNI), lock)
    assert (ids_in(store, "captions"), ids_in(store, "failures")) == (["v", "w"], ["u"])


class Stopped(BaseException):
    """The process is suspended for good."""


class Stops:
    """A lock whose holder stops at the guard before its n-th change."""

    def __init__(self, lock: Unlocked, *, after: int) -> None:
        self.epoch, self._left = lock.epoch, after

    def check(self) -> None:
        if self._left == 0:
            raise Stopped
        self._left -= 1


@pytest.mark.parametrize("after", [False, True])
def test_the_list_is_right_whenever_a_run_is_killed(tmp_path: Path, after: bool) -> None:
    crashes = 0
    for at in range(100):
        store = TableStore(tmp_path / str(at))
        lock = Unlocked()
        write(
            store, "r1", captioned(names(2)), failed(names(4, first=2), transient=True), lock=lock
        )
        settled(Ledger(store, tables=OMNI), lock)
        broken = FaultyStore(store, at=at, after=after)
        lock.advance()
        try:
            write(broken, "r2", captioned(names(3, first=2)), lock=lock)
            settled(Ledger(broken, tables=OMNI), lock)
        except Crash:
            crashes += 1
        found = exact(store), exact(store, "failures")
        assert found in (
            (names(2), names(4, first=2)), (names(5), names(1, first=5))
        )  # fmt: skip
        settled(Ledger(store, tables=OMNI), lock)
        if not broken.broke:
            assert found == (names(5), names(1, first=5))
            break
    assert crashes >= 5


def test_a_late_shard_is_older_also_where_the_last_number_is_gone(store: TableStore) -> None:
    lock = Unlocked()
    write(store, "r1", failed(["x"], transient=True), captioned(["y"]), lock=lock)
    (landed,) = files(store, "captions")
    dead = HeldStore(store)
    write(dead, "r1", failed(["w"], transient=False), lock=lock)
    settled(Ledger(store, tables=OMNI), lock)
    store.delete(landed)
    store.delete(files(store, "failures")[0])
    settled(Ledger(store, tables=OMNI), lock)
    write(store, "r2", failed(["w"], transient=True), lock=lock)
    settled(Ledger(store, tables=OMNI), lock)
    dead.held[0]()
    settled(Ledger(store, tables=OMNI), lock)
    assert [ShardName.parse(path).made for path in files(store, "failures")] == [lock.epoch - 2]


def test_what_an_unfinished_run_wrote_is_read(store: TableStore) -> None:
    lock = Unlocked()
    write(store, "r1", captioned(names(2)), lock=lock)
    assert read_by_us(store) == names(2), "also where there is no list"
    settled(Ledger(store, tables=OMNI), lock)
    lock.advance()
    write(store, "r2", captioned(names(2, first=2)), lock=lock)
    assert (read_by_us(store), exact(store)) == (names(4), names(2))
    theirs = store.read_bytes(newest_lists(store)["omni"].captions[0])
    store.write_bytes(f"{OMNI.captions}/run_id=theirs/part-00009.parquet", theirs)
    assert len(read_by_us(store)) == 6, "somebody else's file counts"


def test_epochs_grow_and_belong_to_one(store: TableStore) -> None:
    assert [claim(store, guard=NO_LOCK.check) for _ in range(3)] == [1, 2, 3]
    assert len(files(store, "runs/_epochs")) == 1
    with RunLock(store, "r1") as lock:
        assert lock.epoch == 4
        lock.advance()
        Ledger(store, tables=OMNI).reconcile(lock)
    for path in files(store, "runs/_epochs"):
        if path.endswith(".claim"):
            store.delete(path)
    with RunLock(store, "r2") as lock:
        assert lock.epoch == 6, "the lists tell, where the claims are gone"


def test_of_two_that_claim_at_once_one_gives_way(store: TableStore) -> None:
    class Rival:
        begun = False

        def check(self) -> None:
            if not self.begun:
                self.begun = True
                claim(store, guard=NO_LOCK.check)

    with pytest.raises(LockLostError, match="takes over"):
        claim(store, guard=Rival().check)


@pytest.mark.parametrize("kind", ["local", "moto"])
def test_what_is_written_once_is_never_replaced(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = open_store(kind, request, tmp_path)
    store.write_bytes("a", b"first", once=True)
    store.write_bytes("a", b"first", once=True)  # as after an answer that was lost
    with pytest.raises(LockLostError, match="another process"):
        store.write_bytes("a", b"second", once=True)
    large = bytes(120 << 20)  # in parts, on S3
    with pytest.raises(LockLostError):
        store.write_bytes("a", large, once=True)
    assert store.read_bytes("a") == b"first"
    assert files(store, "runs") == []
    store.write_bytes("a", b"third")
    assert store.read_bytes("a") == b"third"


def refuse(
    store: TableStore, patch: pytest.MonkeyPatch, status: int, which: Callable[[str, Any], bool]
) -> None:
    """Answer some requests to S3 as a server does that refuses them."""
    filesystem = store._client.filesystem
    call = filesystem._call_s3

    async def refusing(method: str, *arguments: Any, **given: Any) -> Any:
        if which(method, given):
            answer: Any = {"Error": {"Code": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(answer, method)
        return await call(method, *arguments, **given)

    patch.setattr(filesystem, "_call_s3", refusing)


def test_a_server_without_conditional_writes(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("moto", request, tmp_path)
    refuse(store, monkeypatch, 501, lambda _, given: "IfNoneMatch" in given)
    monkeypatch.setattr(store._client, "_knows_conditions", True)
    store.write_bytes("a", b"data", once=True)
    assert store.read_bytes("a") == b"data"


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = TableStore(tmp_path)
    store.write_bytes("a", b"first", once=True)
    with pytest.raises(LockLostError):
        store.write_bytes("a", b"second", once=True)
    assert store.read_bytes("a") == b"first"


def test_uploads_of_dead_runs_are_ended(moto_client: Any, moto_url: str, moto_bucket: str) -> None:
    store = TableStore(f"s3://{moto_bucket}/out", StorageOptions(endpoint_url=moto_url))
    ours, theirs = "out/captions/recipe=omni/run_id=r1/part-00000-epoch0001.parquet", "other/x"
    started = {}
    for key in (ours, theirs):
        answer = moto_client.create_multipart_upload(Bucket=moto_bucket, Key=key)
        started[key] = answer["UploadId"]
    settled(Ledger(store, tables=OMNI))
    left = moto_client.list_multipart_uploads(Bucket=moto_bucket).get("Uploads", [])
    assert [upload["Key"] for upload in left] == [theirs]


def test_a_driver_that_may_not_look_for_uploads(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("moto", request, tmp_path)
    refuse(store, monkeypatch, 403, lambda method, _: method == "list_multipart_uploads")
    write(store, "r1", captioned(names(1)), lock=NO_LOCK)
    assert len(settled(Ledger(store, tables=OMNI)).captions) == 1


def test_what_names_tell() -> None:
    entries = {
        "part-00012-epoch0007.parquet": ShardName("part-00012-epoch0007", 12, 7, 7),
        "part-00012-epoch0007.epoch0009.parquet": ShardName("part-00012-epoch0007", 12, 7, 9),
        "part-00012-89ab01ef.epoch0009.parquet": ShardName("part-00012-89ab01ef", 12, -1, 9),
        "part-00012-89ab01ef.parquet": ShardName("part-00012-89ab01ef", 12, -1, None),
        "part-00012.parquet": ShardName("part-00012", 12, -1, None),
        "notes.parquet": ShardName("notes.parquet", -1, -1, None),
    }
    for name, told in entries.items():
        assert ShardName.parse(f"captions/recipe=omni/run_id=a.b/{name}") == told


def test_the_list_as_a_plain_reader_takes_it(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    lock = Unlocked()
    write(store, "r1", captioned(names(3)), lock=lock)
    made = settled(Ledger(store, tables=OMNI), lock)
    (path,) = [each for each in files(store, "runs/_epochs") if each.endswith(".json")]
    assert path == "runs/_epochs/00000002.omni.json"
    assert json.loads(store.read_bytes(path)) == {
        "epoch": 2, "captions": [*made.captions], "failures": [], "next_part": 1,
    }  # fmt: skip
    assert Commit(2, made.captions, (), next_part=1) == made
    assert revisions(store.list("captions"), {"omni": made})[1] == []
