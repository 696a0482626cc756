"""A proxy in front of an S3 server that breaks a settable share of requests.

It runs on an event loop in a thread of its own, passes requests on byte for byte (the Host
header is part of S3's signature), and keeps one connection to the server per connection of
a client. Kinds of faults:

=============  ==================================================================
slow_down      503 SlowDown, the request never reaches the server
internal       500 InternalError, the same
denied         403 AccessDenied, the same
hold           the body is taken in, nothing is answered, and the connection is reset
               ``stall_sec`` later; :meth:`FaultProxy.deliver` carries the request out
reset          the connection is reset, the request never reaches the server
reset_after    the server carries the request out, then the connection is reset
cut            the body ends half way, and the connection with it; the right
               Content-Length, so that a careful client notices
cut_quietly    the body ends half way, and Content-Length says so too
stall          the body comes in two halves, ``stall_sec`` apart
=============  ==================================================================

A fault that needs a body (cut, cut_quietly, stall) leaves answers without one alone. Beside
all that, the server's clock can jump, as far as its listings tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self
from urllib.parse import urlsplit

_REFUSALS = {
    "slow_down": ("503 Slow Down", "SlowDown"),
    "internal": ("500 Internal Server Error", "InternalError"),
    "denied": ("403 Forbidden", "AccessDenied"),
}
KINDS = (*_REFUSALS, "hold", "reset", "reset_after", "cut", "cut_quietly", "stall")

_CHUNK = 1 << 16
_LAST_MODIFIED = re.compile(rb"(?<=<LastModified>)[^.<]{19}(?=[.Z])")


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Which requests break, and how.

    Attributes:
        shares: share of the matching requests per kind, each in [0, 1], together at most 1.
        methods: HTTP methods that may break; None for all.
        path: regular expression searched in "PATH?QUERY"; "" matches all.
        stall_sec: pause in the middle of a stalled body, in seconds.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    methods: Collection[str] | None = None
    path: str = ""
    stall_sec: float = 0.5

    def __post_init__(self) -> None:
        unknown = set(self.shares) - set(KINDS)
        if unknown or sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError(f"shares are of {KINDS} and add up to at most 1: {self.shares}")


@dataclass(frozen=True)
class Request:
    """A request that the proxy saw: method, "PATH?QUERY", and its fault or "passed"."""

    method: str
    target: str
    outcome: str


class FaultProxy:
    """Context manager: the proxy on a free port of 127.0.0.1.

    Args:
        upstream: URL of the server, "http://HOST:PORT".
        seed: of the draws; the same order of requests breaks the same ones.

    Attributes:
        endpoint_url: where clients send their requests.
        requests: all requests so far, in the order in which they came.
    """

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname and parts.port
        self._upstream = (parts.hostname, parts.port)
        self._random = random.Random(seed)
        self._faults = Faults()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy")
        self._server: asyncio.Server | None = None
        self.endpoint_url = ""
        self.requests: list[Request] = []
        self._held: list[bytes] = []
        self._jumps: list[tuple[datetime, timedelta]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        port = self._server.sockets[0].getsockname()[1]
        self.endpoint_url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=30)
        self._loop.close()

    def break_requests(
        self,
        shares: Mapping[str, float],
        *,
        methods: Collection[str] | None = None,
        path: str = "",
        stall_sec: float = 0.5,
    ) -> None:
        """From now on, break requests as :class:`Faults` says. An empty dict heals the proxy."""
        self._faults = Faults(shares=shares, methods=methods, path=path, stall_sec=stall_sec)

    @property
    def counts(self) -> Counter[str]:
        """How many requests had which outcome so far: the kinds, and "passed"."""
        return Counter(request.outcome for request in list(self.requests))

    def deliver(self) -> int:
        """Carry out the requests that are held, in their order; how many there were."""
        held, self._held = self._held, []
        for raw in held:
            with socket.create_connection(self._upstream, timeout=30) as server:
                server.sendall(raw)
                assert server.recv(_CHUNK)
        return len(held)

    def jump(self, seconds: float) -> None:
        """From now on, the server's clock is ahead by so much more."""
        self._jumps.append((datetime.now(UTC).replace(microsecond=0), timedelta(seconds=seconds)))

    def _told(self, listing: bytes) -> bytes:
        """What a server with such a clock lists."""

        def shifted(found: re.Match[bytes]) -> bytes:
            at = datetime.fromisoformat(f"{found[0].decode()}+00:00")
            at += sum((by for since, by in self._jumps if since <= at), timedelta())
            return at.isoformat()[:19].encode()

        return _LAST_MODIFIED.sub(shifted, listing) if self._jumps else listing

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        here = asyncio.current_task()
        connections = [task for task in asyncio.all_tasks() if task is not here]
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def _draw(self, method: str, target: str) -> str:
        faults = self._faults
        if faults.methods is not None and method not in faults.methods:
            return "passed"
        if not re.search(faults.path, target):
            return "passed"
        point = self._random.random()
        for kind, share in faults.shares.items():
            point -= share
            if point < 0:
                return kind
        return "passed"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All requests of one client connection."""
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while head := await _read_head(reader):
                method, target = head.start.split(" ")[:2]
                body = await _read_request_body(reader, writer, head)
                kind = self._draw(method, target)
                if kind in (*_REFUSALS, "reset", "hold"):
                    self.requests.append(Request(method, target, kind))
                    if kind == "hold":
                        self._held.append(head.raw(without="expect") + body)
                        await asyncio.sleep(self._faults.stall_sec)
                    if kind not in _REFUSALS:
                        _reset(writer)
                        return
                    writer.write(_refusal(kind, method))
                    await writer.drain()
                    continue
                if upstream is None:
                    upstream = await asyncio.open_connection(*self._upstream)
                upstream[1].write(head.raw(without="expect") + body)
                await upstream[1].drain()
                again = await self._answer(method, target, kind, upstream[0], writer)
                if not again:
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return  # the client or the server hung up, or the proxy ends
        finally:
            for stream in (writer, upstream[1] if upstream else None):
                if stream is not None:
                    with contextlib.suppress(ConnectionError, RuntimeError):
                        stream.close()

    async def _answer(
        self,
        method: str,
        target: str,
        kind: str,
        server: asyncio.StreamReader,
        client: asyncio.StreamWriter,
    ) -> bool:
        """Pass the server's answer on, with its fault; whether the connection can stay."""
        head = await _read_head(server)
        while head is not None and head.status == 100:
            head = await _read_head(server)
        if head is None:
            self.requests.append(Request(method, target, "passed"))
            return False
        length = head.length
        bodiless = method == "HEAD" or head.status in (204, 304) or length == 0
        if (bodiless or length is None) and kind in ("cut", "cut_quietly", "stall"):
            kind = "passed"
        self.requests.append(Request(method, target, kind))
        if kind == "reset_after":
            _reset(client)
            return False
        if kind == "cut_quietly":
            assert length is not None
            client.write(head.raw(without="content-length", extra=f"Content-Length: {length // 2}"))
            await _relay(server, client, length // 2)
            # The connection stays, as the answer says: a client that takes it for whole may use
            # it again, at once.
            await server.readexactly(length - length // 2)
            return head.keep_alive
        client.write(head.raw())
        if bodiless:
            pass
        elif head.chunked:
            await _relay_chunks(server, client, self._told)
        elif length is None:
            await _relay(server, client, None)
            return False
        else:
            half = length // 2 if kind != "passed" else length
            await _relay(server, client, half, self._told)
            if kind == "cut":
                return False
            if kind == "stall":
                await asyncio.sleep(self._faults.stall_sec)
            await _relay(server, client, length - half, self._told)
        await client.drain()
        return head.keep_alive


@dataclass(frozen=True)
class _Head:
    """Start line and header lines of a request or an answer, as they came."""

    start: str
    lines: tuple[str, ...]

    def header(self, name: str) -> str | None:
        for line in self.lines:
            key, _, value = line.partition(":")
            if key.strip().lower() == name:
                return value.strip()
        return None

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    @property
    def length(self) -> int | None:
        value = self.header("content-length")
        return None if value is None or self.chunked else int(value)

    @property
    def chunked(self) -> bool:
        return "chunked" in (self.header("transfer-encoding") or "").lower()

    @property
    def keep_alive(self) -> bool:
        default = "keep-alive" if self.start.startswith("HTTP/1.1") else "close"
        return (self.header("connection") or default).lower() != "close"

    def raw(self, *, without: str = "", extra: str = "") -> bytes:
        lines = [line for line in self.lines if line.split(":")[0].strip().lower() != without]
        return "\r\n".join([self.start, *lines, *([extra] if extra else []), "", ""]).encode(
            "latin-1"
        )


async def _read_head(reader: asyncio.StreamReader) -> _Head | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    start, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    return _Head(start, tuple(lines))


async def _read_request_body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: _Head
) -> bytes:
    if (head.header("expect") or "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    if head.chunked:
        parts: list[bytes] = []

        async def keep(data: bytes) -> None:
            parts.append(data)

        await _each_chunk(reader, keep)
        return b"".join(parts)
    return await reader.readexactly(head.length or 0)


async def _relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    size: int | None,
    change: Callable[[bytes], bytes] = bytes,
) -> None:
    """Copy ``size`` bytes, or all there are; ``change`` keeps their number."""
    while size is None or size > 0:
        data = await reader.read(_CHUNK if size is None else min(_CHUNK, size))
        if not data:
            if size is None:
                return
            raise asyncio.IncompleteReadError(b"", size)
        writer.write(change(data))
        await writer.drain()
        if size is not None:
            size -= len(data)


async def _relay_chunks(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    change: Callable[[bytes], bytes],
) -> None:
    async def send(data: bytes) -> None:
        writer.write(change(data))
        await writer.drain()

    await _each_chunk(reader, send)


async def _each_chunk(
    reader: asyncio.StreamReader, take: Callable[[bytes], Awaitable[None]]
) -> None:
    """Hand on a chunked body piece by piece, framing included."""
    while True:
        line = await reader.readuntil(b"\r\n")
        await take(line)
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        await take(await reader.readexactly(size + 2))
    while True:  # trailers, up to an empty line
        line = await reader.readuntil(b"\r\n")
        await take(line)
        if line == b"\r\n":
            return


def _refusal(kind: str, method: str) -> bytes:
    status, code = _REFUSALS[kind]
    body = f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>"
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head if method == "HEAD" else head + body).encode()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
