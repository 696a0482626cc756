"""Web servers: those that send ranges, those that do not, and those that say what is not so."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from actors.storage.access import open_range, read_whole
from schemas.errors import EmptyFileError, NotFoundError, OpenError, StorageUnavailableError
from schemas.media import StorageOptions

DATA = random.Random(5).randbytes(2_500_000)


class Web(BaseHTTPRequestHandler):
    """Answers as the path says; knows no HEAD."""

    protocol_version = "HTTP/1.1"
    asked: list[str | None]

    def do_GET(self) -> None:
        span = self.headers.get("Range")
        self.asked.append(span)
        kind = self.path.strip("/").partition("?")[0]
        if kind in ("ranges", "untrue", "unknown") and span:
            first, last = map(int, span.removeprefix("bytes=").split("-"))
            total = "*" if kind == "unknown" else len(DATA)
            body = DATA[first : last + 1 + 1000 * (kind == "untrue" and first > 0)]
            self.answer(206, body, {"Content-Range": f"bytes {first}-{last}/{total}"})
        elif kind in ("whole", "unknown"):
            self.answer(200, DATA, {})
        elif kind == "chunked":
            self.answer(200, DATA, {"Transfer-Encoding": "chunked"})
        elif kind == "endless":
            self.answer(200, DATA * 50, {"Transfer-Encoding": "chunked"})
        elif kind == "cut":
            self.answer(200, DATA, {"Content-Length": str(2 * len(DATA))})
            self.close_connection = True
        elif kind == "empty":
            self.answer(416, b"", {"Content-Range": "bytes */0"})
        else:
            self.answer(404, b"", {})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            if name != "Content-Length" or "Transfer-Encoding" not in headers:
                self.send_header(name, value)
        self.end_headers()
        try:
            if "Transfer-Encoding" in headers:
                for start in range(0, len(body), 70_000):
                    part = body[start : start + 70_000]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                body = b"0\r\n\r\n"
            self.wfile.write(body)
        except ConnectionError:  # the reader has seen enough
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Does not tell of readers that went away."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    Web.asked = []
    with Server(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def no_retries(web: str) -> StorageOptions:
    return StorageOptions(retries=0, timeout_sec=5, places=(web,))


def test_ranges_are_read_where_the_server_sends_them(web: str) -> None:
    with open_range(f"{web}/ranges?v=1", no_retries(web)) as reader:
        reader.seek(2_000_000)
        assert reader.read(100) == DATA[2_000_000:2_000_100]
        assert reader.size == len(DATA)
    assert Web.asked == ["bytes=0-0", "bytes=2000000-2065535"]


@pytest.mark.parametrize("kind", ["whole", "chunked", "unknown"])
def test_a_server_without_ranges_is_read_whole(web: str, kind: str) -> None:
    assert read_whole(f"{web}/{kind}", no_retries(web)) == DATA
    assert Web.asked == ["bytes=0-0", None]


@pytest.mark.parametrize("kind", ["whole", "chunked", "endless"])
def test_up_to_a_limit(web: str, kind: str) -> None:
    options = StorageOptions(retries=2, timeout_sec=5, whole_file_mb=2, places=(web,))
    with pytest.raises(
        OpenError, match=r"sends no ranges.* 2 MB .*storage.whole_file_mb"
    ) as caught:
        open_range(f"{web}/{kind}?sig=hush", options)
    assert type(caught.value) is OpenError and caught.value.cause.tries == 1
    assert "hush" not in str(caught.value)
    assert len(Web.asked) == 2, "it was tried again"


def test_what_is_not_as_announced(web: str) -> None:
    with pytest.raises(StorageUnavailableError):
        open_range(f"{web}/cut", no_retries(web))
    with (
        open_range(f"{web}/untrue", no_retries(web)) as reader,
        pytest.raises(StorageUnavailableError),
    ):
        reader.seek(2_000_000)
        reader.read(10)


def test_nothing_and_nowhere(web: str) -> None:
    with pytest.raises(EmptyFileError):
        open_range(f"{web}/empty", no_retries(web))
    with pytest.raises(NotFoundError):
        open_range(f"{web}/nothing", no_retries(web))
