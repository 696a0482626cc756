"""A manifest cannot make the job read this machine's files or its private network."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from actors.storage.access import open_range, read_whole
from actors.storage.places import Places, _open_socket
from rayjob.inputs.listing import places_of
from schemas.errors import Cause, OpenError, PlaceNotAllowedError, StorageUnavailableError
from schemas.media import StorageOptions

BODY = b"bytes of a video"


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves BODY, and at ``/to?URL`` a redirect to URL."""

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(BODY)

    def _answer(self, body: bytes) -> None:
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.send_header("Content-Length", "0")
            body = b""
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[tuple[str, str]]:
    """Two web servers on this machine."""
    made = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) for _ in range(2)]
    for server in made:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    first, second = (f"http://127.0.0.1:{server.server_port}" for server in made)
    yield first, second
    for server in made:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "user:password@127.0.0.1"])
def test_this_machine_is_refused_by_whatever_name(servers: tuple[str, str], host: str) -> None:
    port = servers[0].rpartition(":")[2]
    options = StorageOptions(retries=0)
    with pytest.raises(PlaceNotAllowedError, match=r"storage\.places") as caught:
        open_range(f"http://{host}:{port}/clip.mp4", options)
    assert caught.value.cause is Cause.PERMISSION and "password" not in str(caught.value)


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f000001"])
def test_this_machine_is_not_reached_by_an_odd_spelling(
    servers: tuple[str, str], host: str
) -> None:
    port = servers[0].rpartition(":")[2]
    with pytest.raises(OpenError):
        open_range(f"http://{host}:{port}/clip.mp4", StorageOptions(retries=0))


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
     "::1", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "224.0.0.1"],
)  # fmt: skip
def test_private_addresses(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(OSError, match="not public"):
        _open_socket((), (family, socket.SOCK_STREAM, 0, "", (address, 80)))


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700::1111"])
def test_public_addresses(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    _open_socket((), (family, socket.SOCK_STREAM, 0, "", (address, 80))).close()


def test_a_server_that_is_opened_and_no_other(servers: tuple[str, str]) -> None:
    first, second = servers
    options = StorageOptions(places=(first,), retries=0)
    assert read_whole(f"{first}/clip.mp4", options) == BODY
    assert read_whole(f"{first.replace('127.0.0.1', 'localhost')}/clip.mp4", options) == BODY
    with pytest.raises(PlaceNotAllowedError):
        read_whole(f"{second}/clip.mp4", options)


def test_redirects_are_checked_like_addresses(servers: tuple[str, str]) -> None:
    first, second = servers
    options = StorageOptions(places=(first,), retries=0)
    assert read_whole(f"{first}/to?{first}/clip.mp4", options) == BODY
    with pytest.raises(PlaceNotAllowedError):
        read_whole(f"{first}/to?{second}/clip.mp4", options)


def test_an_endpoint_that_the_user_configures_is_not_checked() -> None:
    options = StorageOptions(endpoint_url="http://127.0.0.1:9", anonymous=True, retries=0)
    with pytest.raises(StorageUnavailableError):
        open_range("s3://bucket/clip.mp4", options)


@pytest.mark.parametrize(
    ("uri", "is_allowed"),
    [
        ("s3://bucket/clip.mp4", True),
        ("https://example.org/clip.mp4", True),
        ("{videos}/a/clip.mp4", True),
        ("file://{videos}/clip.mp4", True),
        ("{videos}-other/clip.mp4", False),
        ("{videos}/../secret.mp4", False),
        ("file://{videos}/%2e%2e/secret.mp4", False),
        ("/etc/passwd", False),
        ("file:///etc/passwd", False),
        ("local:///etc/passwd", False),
        ("gs://bucket/clip.mp4", False),
        ("ftp://example.org/clip.mp4", False),
        ("simplecache::file:///etc/passwd", False),
        ("memory://clip.mp4", False),
    ],
)
def test_what_may_be_named(tmp_path: Path, uri: str, is_allowed: bool) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "list.csv").write_text("uri\n")
    for given in (videos, videos / "list.csv", videos / "**" / "*.mp4"):
        places = places_of([str(given)], StorageOptions())
        assert places == Places(folders=(str(videos),), opened=())
    named = uri.format(videos=videos)
    if is_allowed:
        places.check(named)
    else:
        with pytest.raises(PlaceNotAllowedError, match=r"storage\.places"):
            places.check(named)


def test_what_the_setting_opens() -> None:
    options = StorageOptions.model_validate({"places": "/mnt/films, gs://, az://films"})
    places = places_of(["s3://bucket/list.csv"], options)
    for uri in ("/mnt/films/a.mp4", "gs://bucket/a.mp4", "az://films/a.mp4"):
        places.check(uri)
    for uri in ("/mnt/filmsets/a.mp4", "az://filmsets/a.mp4", "abfs://films/a.mp4"):
        with pytest.raises(PlaceNotAllowedError):
            places.check(uri)


@pytest.mark.parametrize("place", ["films", "../films", "example.org"])
def test_places_that_say_nothing(place: str) -> None:
    with pytest.raises(ValidationError, match="absolute"):
        StorageOptions(places=(place,))
