"""Files of web servers as inputs."""

from __future__ import annotations

import functools
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from actors.storage.access import read_whole
from actors.storage.uris import public_uri
from schemas.media import StorageOptions
from tests.support.inputs import failure, listed


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A server, without ranges, over the test's folder."""
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_video(web: str, tmp_path: Path) -> None:
    (tmp_path / "a b.mp4").write_bytes(b"one")
    storage = StorageOptions(places=(web,))
    (found,) = listed(f"{web}/a%20b.mp4?token=1", storage=storage)
    assert (found.video_id, public_uri(found.uri)) == ("a b.mp4", f"{web}/a%20b.mp4")
    assert read_whole(found.uri, storage) == b"one"
    (part,) = listed(f"{web}/a%20b.mp4#t=1,2", storage=storage)
    assert (part.video_id, part.uri) == ("a b.mp4#t=1,2", f"{web}/a%20b.mp4#t=1,2")


def test_a_manifest_and_an_archive(web: str, tmp_path: Path) -> None:
    storage = StorageOptions(places=(web,))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "rows.csv").write_text("path,start,end\nx y.mp4,1,2\n")
    (found,) = listed(f"{web}/sub/rows.csv?v=1", storage=storage)
    assert (found.video_id, found.uri) == ("x%20y.mp4#t=1,2", f"{web}/sub/x%20y.mp4#t=1,2")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("k.mp4")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"two"))
    (inside,) = listed(f"{web}/a.tar", storage=storage)
    assert (inside.video_id, public_uri(inside.uri)) == ("k", f"tar://k.mp4::{web}/a.tar")
    assert read_whole(inside.uri, storage) == b"two"


def test_what_is_not_there_or_not_public(web: str) -> None:
    options = {"retries": 0, "timeout_sec": 5}
    assert "no object at" in failure(
        f"{web}/rows.csv", storage=StorageOptions(places=(web,), **options)
    )
    assert "is not in a place" in failure(f"{web}/rows.csv", storage=StorageOptions(**options))
