"""Videos inside tar and zip archives: what is listed, by which reads, and what is then decoded."""

from __future__ import annotations

import io
import json
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from actors.confinement.sandbox import DecodeSandbox
from actors.storage.access import open_file, read_whole
from actors.storage.archives import Member, entries
from actors.storage.places import Places
from actors.storage.uris import file_of, public_uri
from rayjob.ids import Earlier
from rayjob.inputs.listing import places_of
from rayjob.inputs.manifests import Input
from rayjob.inputs.todo import write_todo
from rayjob.output.store import TableStore
from schemas.blocks import video_of
from schemas.errors import NotFoundError, OpenError, SourceError
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from tests.support.inputs import listed
from tests.support.media import numbers_of, render

OPTIONS = StorageOptions()


def tar(path: Path, members: dict[str, bytes], *, mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def packed(path: Path, members: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_webdataset(tmp_path: Path) -> None:
    """As video2dataset writes it."""
    shard = tar(
        tmp_path / "00000.tar",
        {
            "000000000.mp4": b"one",
            "000000000.txt": b"A boat.\n",
            "000000000.json": json.dumps({"url": "https://h/1", "duration": 3.5}).encode(),
            "000000001.json": b"{}",
            "000000001.cls": b"7",
            "000000001.mp4": b"three",
            "a/deep." + "long" * 40 + ".mp4": b"deep",
            "000000003.txt": b"no video",
        },
    )
    found = listed(shard)
    assert [each.video_id for each in found] == ["000000000", "000000001", "a/deep"]
    assert [json.loads(each.metadata or "{}") for each in found] == [
        {"txt": "A boat.", "url": "https://h/1", "duration": 3.5}, {"cls": 7}, {},
    ]  # fmt: skip
    assert public_uri(found[0].uri) == f"tar://000000000.mp4::{shard}"
    for each, data in zip(found, [b"one", b"three", b"deep"], strict=True):
        # With where it is, and as it stands in the tables.
        assert read_whole(each.uri, OPTIONS) == data
        assert read_whole(public_uri(each.uri), OPTIONS) == data


def test_a_zip(tmp_path: Path) -> None:
    archive = packed(tmp_path / "all.zip", {"a/b c.mp4": b"one", "?#.mp4": b"two", "x.txt": b""})
    found = listed(archive)
    assert [each.video_id for each in found] == ["a/b c.mp4", "?#.mp4"]
    assert public_uri(found[0].uri) == f"zip://a/b c.mp4::{archive}"
    for each, data in zip(found, [b"one", b"two"], strict=True):
        assert read_whole(each.uri, OPTIONS) == data
        assert read_whole(public_uri(each.uri), OPTIONS) == data


def test_openvid(tmp_path: Path) -> None:
    """Parts in zip archives, and a table whose rows name a member and its part."""
    bodies = {f"celebv_{number}_0_0.mp4": b"%d" % number for number in range(4)}
    parts = {"OpenVid_part0.zip": ("0", "1"), "OpenVid_part1.zip": ("2", "3")}
    rows = ["video,caption,aesthetic score,seconds"]
    for part, numbers in parts.items():
        names = [name for name in bodies if name[7] in numbers]
        packed(tmp_path / part, {f"video/{name}": bodies[name] for name in names})
        rows += [f"zip://video/{name}::{part},In {name}.,5.1,4.0" for name in names]
    table = tmp_path / "OpenVid-1M.csv"
    table.write_text("\n".join(rows))
    found, below = listed(table), listed(tmp_path)
    assert [each.video_id for each in found] == [each.video_id for each in below]
    assert found[3].video_id == "OpenVid_part1.zip/video/celebv_3_0_0.mp4"
    assert json.loads(found[3].metadata or "") == {
        "caption": "In celebv_3_0_0.mp4.", "aesthetic score": "5.1", "seconds": "4.0",
    }  # fmt: skip
    for inputs in (found, below):
        assert [read_whole(each.uri, OPTIONS) for each in inputs] == [*bodies.values()]


def test_a_folder_of_archives_and_files(tmp_path: Path) -> None:
    tar(tmp_path / "1.tar", {"k1.mp4": b"1"})
    packed(tmp_path / "2.zip", {"k2.mp4": b"2"})
    (tmp_path / "3.mp4").write_bytes(b"3")
    found = listed(tmp_path)
    assert [each.video_id for each in found] == ["k1", "2.zip/k2.mp4", "3.mp4"]
    assert [read_whole(each.uri, OPTIONS) for each in found] == [b"1", b"2", b"3"]


def test_two_videos_of_one_key_have_names_of_their_own(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", {"k.left.mp4": b"1", "k.right.mp4": b"2", "j.mp4": b"3"})
    assert [each.video_id for each in listed(archive)] == ["k.left.mp4", "k.right.mp4", "j"]


def test_an_archive_that_cannot_be_read_costs_one_input(tmp_path: Path) -> None:
    good = tar(tmp_path / "good.tar", {"k.mp4": b"1"})
    tar(tmp_path / "small.tar.gz", {"z.mp4": b"1"}, mode="w:gz")
    (tmp_path / "broken.tar").write_bytes(good.read_bytes()[:100] + b"x" * 2000)
    (tmp_path / "empty.zip").write_bytes(b"")
    found = {each.video_id: each for each in listed(tmp_path)}
    assert found.keys() == {"k", "small.tar.gz", "broken.tar", "empty.zip"}
    for name, reason in (
        ("small.tar.gz", r"is compressed, .*: decompress it to a \.tar"),
        ("broken.tar", "is not a readable tar archive"),
        ("empty.zip", "is empty"),
    ):
        with pytest.raises(OpenError, match=reason):
            open_file(found[name].uri, OPTIONS)


def test_a_tar_that_is_cut_off_costs_what_it_lacks(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", {"k1.mp4": b"1" * 5000, "k2.mp4": b"2" * 5000})
    archive.write_bytes(archive.read_bytes()[:8000])
    found = listed(archive)
    assert found[0].video_id == "k1" and len(found) > 1
    for each in found[1:]:
        with pytest.raises(OpenError):
            open_file(each.uri, OPTIONS)


def test_compressed_members_say_what_to_do(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", {"k.mp4": b"1" * 1000}, method=zipfile.ZIP_DEFLATED)
    (found,) = listed(archive)
    with pytest.raises(OpenError, match=r"'k\.mp4' is compressed .*pack it anew without \(zip -0"):
        open_file(found.uri, OPTIONS)


def test_places_inside_that_are_not_there(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", {"k.mp4": b"1"})
    with pytest.raises(NotFoundError, match=r"there is no 'x\.mp4' in .*a\.tar"):
        open_file(f"tar://x.mp4::{archive}", OPTIONS)
    with pytest.raises(NotFoundError, match="there is no file"):
        open_file(f"tar://x.mp4::{tmp_path}/b.tar", OPTIONS)
    with pytest.raises(SourceError, match="no videos in"):
        listed(tar(tmp_path / "b.tar", {"k.wav": b"1"}))


def test_another_archive_in_its_place_is_looked_at_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    (found,) = listed(tar(path, {"k.mp4": b"the first"}))
    tar(path, {"other.mp4": b"x" * 3000, "k.mp4": b"the second"})
    assert read_whole(found.uri, OPTIONS) == b"the second"


def test_in_manifests_and_as_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tar(tmp_path / "a.tar", {"k.mp4": b"1"})
    rows = tmp_path / "rows.txt"
    rows.write_text(f"tar://k.mp4::{archive}#t=1,2\nzip://m/n.mp4::s3://b/c.zip\n")
    found = listed(rows)
    assert [each.uri for each in found] == [
        f"tar://k.mp4::{archive}#t=1,2", "zip://m/n.mp4::s3://b/c.zip",
    ]  # fmt: skip
    assert [each.video_id for each in found] == ["a.tar/k.mp4#t=1,2", "b/c.zip/m/n.mp4"]
    monkeypatch.chdir(tmp_path)
    for form in (f"tar://k.mp4::{archive}", "tar://k.mp4::a.tar"):
        assert listed(form) == [Input("k.mp4", f"tar://k.mp4::{archive}")]
    assert places_of([f"tar://k.mp4::{archive}"], OPTIONS).folders == (str(tmp_path),)


def test_a_place_inside_is_allowed_where_the_file_is(tmp_path: Path) -> None:
    places = Places(folders=("/data",), opened=())
    places.check(file_of("zip://m.mp4::/data/a.zip#t=1,2"))
    with pytest.raises(OpenError, match="/etc/passwd is not in a place"):
        places.check(file_of("tar://m.mp4::file:///etc/passwd"))
    assert public_uri("zip://m?.mp4::https://u:p@h/a.zip?sig=1#at=1,2,3#t=1,2") == (
        "zip://m?.mp4::https://h/a.zip#t=1,2"
    )


def test_tables_hold_no_offsets_and_a_rerun_knows_the_input(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", {"k.mp4": b"1"})
    store = TableStore(str(tmp_path / "out"), OPTIONS)
    (found,) = listed(archive)
    assert "#at=512,1," in found.uri
    again = Input(found.video_id, public_uri(found.uri), source_version=found.source_version)
    todo = write_todo(store, "run", iter([found, again]), Earlier())
    assert (todo.todo, todo.repeated) == (1, 1)


def test_members_are_decoded_and_segments_of_members(tmp_path: Path) -> None:
    video = render(tmp_path / "video.mp4", count=200, gop=25)
    data = video.read_bytes()
    archives = [
        tar(tmp_path / "a.tar", {"note.txt": b"x", "k.mp4": data}),
        packed(tmp_path / "a.zip", {"k.mp4": data}),
    ]
    plan = SamplingPlan(num_frames=3)
    with DecodeSandbox(DecodeLimits(), OPTIONS) as sandbox:
        for archive in archives:
            (found,) = listed(archive)
            assert numbers_of(video_of(sandbox.decode(found.uri, plan)).frames) == [0, 99, 199]
            clip = video_of(sandbox.decode(f"{found.uri}#t=2,4", plan))
            assert numbers_of(clip.frames) == [50, 74, 99]


@pytest.mark.parametrize(
    ("count", "size", "requests", "share"),
    [(60, 300_000, 62, 0.05), (10_000, 20_000, 60, 1.0)],
    ids=["large members", "small members"],
)
def test_listing_on_s3(
    tmp_path: Path,
    gateway: Any,
    gateway_bucket: str,
    count: int,
    size: int,
    requests: int,
    share: float,
) -> None:
    """Of large members the headers alone are read; small ones are read through, 4 MB at a time."""
    archive = tar(tmp_path / "a.tar", {f"{number:05d}.mp4": bytes(size) for number in range(count)})
    options = StorageOptions(endpoint_url=gateway.endpoint_url)
    gateway.client().upload_file(str(archive), gateway_bucket, "a.tar")
    uri = f"s3://{gateway_bucket}/a.tar"
    found = listed(uri, storage=options)
    assert len(found) == count
    member = Member.parse(found[7].uri)
    assert member is not None and member.name == "00007.mp4"
    file = open_file(uri, options)
    began = time.monotonic()
    reader = [reader for _, reader in entries("tar", uri, file.fetch, file.size)][-1]
    assert time.monotonic() - began < 10
    assert reader.requests <= requests
    assert reader.bytes_read <= share * file.size
