"""Inputs in storages that only their fsspec drivers know: here fsspec's own, in memory."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pytest

from actors.storage.access import read_whole
from rayjob.inputs.listing import places_of
from schemas.errors import PlaceNotAllowedError
from schemas.media import StorageOptions
from tests.support.inputs import failure, ids, listed

OPTIONS = StorageOptions(retries=0)


@pytest.fixture(autouse=True)
def _files() -> Iterator[None]:
    memory = fsspec.filesystem("memory")
    for name in ("b.mp4", "a/x.mp4", "a/.hidden.mp4", "notes.md"):
        memory.pipe_file(f"/films/{name}", name.encode())
    memory.pipe_file("/films/rows.csv", b"path,start,end\na/x.mp4,1,2\n")
    yield
    memory.rm("/films", recursive=True)


def test_a_prefix_a_file_and_a_manifest() -> None:
    assert ids("memory:///films", storage=OPTIONS) == ["a/x.mp4", "b.mp4"]
    assert ids("memory:///films/b.mp4", storage=OPTIONS) == ["b.mp4"]
    (found,) = listed("memory:///films/rows.csv", storage=OPTIONS)
    assert (found.video_id, found.uri) == ("a/x.mp4#t=1,2", "memory:///films/a/x.mp4#t=1,2")
    (whole,) = listed("memory:///films/a", storage=OPTIONS)
    assert read_whole(whole.uri, OPTIONS) == b"a/x.mp4"


def test_an_input_of_its_own_is_allowed_and_no_more() -> None:
    places = places_of(["memory:///films"], OPTIONS)
    places.check("memory:///films/a/x.mp4")
    with pytest.raises(PlaceNotAllowedError):
        places.check("memory:///others/x.mp4")


def test_what_is_not_there_and_what_has_no_driver() -> None:
    assert "no videos in memory:///nothing" in failure("memory:///nothing", storage=OPTIONS)
    assert "cannot open nosuch:// addresses" in failure("nosuch://b/a.mp4", storage=OPTIONS)
