"""Inputs from local files, globs on both sides, and what users get wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rayjob.inputs.listing import Input
from schemas.errors import SourceError
from tests.support.inputs import failure, ids, listed, moto, stream
from tests.support.services import put_objects, write_files


def on_disk(video_id: str, path: Path) -> Input:
    status = path.stat()
    return Input(video_id, str(path), None, f"{status.st_size}-{status.st_mtime_ns}")


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
    url = failure("nosuch://me:hush@example.com/a.mp4?token=hush")
    assert "cannot open nosuch:// addresses" in url and "hush" not in url
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


def test_inputs_come_one_after_the_other(folder: Path, tmp_path: Path) -> None:
    found = stream(folder / "a", f"{folder}/a/*.mkv", tmp_path / "nope")
    listed = [next(found).video_id for _ in range(4)]
    assert listed == ["deep/er/three.webm", "one.MP4", "two.mkv", "two.mkv"]
    with pytest.raises(SourceError, match="nope"):
        next(found)
