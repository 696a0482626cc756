"""A real OpenAI-compatible endpoint whose answers and faults a test decides."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server does with a request: answer with a text or a body, or fail.

    Attributes:
        usage: counts of tokens, None to give none.
        delay: seconds before the answer; drip: seconds before each byte of the body.
        cut: bytes of the body that never come.
    """

    text: str = ""
    status: int = 200
    finish_reason: str = "stop"
    usage: dict[str, int] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    cut: int = 0
    body: str | bytes | None = None


Behaviour = Callable[[dict[str, Any]], Reply]


NO_LIST = Reply(status=404, body="not found")


class JudgeServer:
    """Serves ``/v1/chat/completions`` while entered; keeps every request's body.

    Args:
        behaviour: from a request's body to the reply.
        models: what it says of ``/v1/models``.
    """

    def __init__(self, behaviour: Behaviour, *, models: Reply = NO_LIST) -> None:
        self.behaviour = behaviour
        self.models = models
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append(asked)
                outer.keys.append(self.headers.get("Authorization"))
                outer.times.append(time.monotonic())
                known = self.path == "/v1/chat/completions"
                reply = outer.behaviour(asked) if known else Reply(status=404)
                time.sleep(reply.delay)
                message = {"content": reply.text}
                choice = {"message": message, "finish_reason": reply.finish_reason}
                made = {"choices": [choice]} | ({"usage": reply.usage} if reply.usage else {})
                self._send(reply, json.dumps(made) if reply.body is None else reply.body)

            def do_GET(self) -> None:
                outer.keys.append(self.headers.get("Authorization"))
                self._send(outer.models, outer.models.body or "")

            def _send(self, reply: Reply, body: str | bytes) -> None:
                data = body.encode() if isinstance(body, str) else body
                try:
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    for at in range(len(data) if reply.drip else 0):
                        time.sleep(reply.drip)
                        self.wfile.write(data[at : at + 1])
                    self.wfile.write(b"" if reply.drip else data[: len(data) - reply.cut])
                    self.close_connection = self.close_connection or bool(reply.cut)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client gave up waiting, as a test wants it

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            # Else the sixth connection at once waits a second for its turn.
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> JudgeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def prompt_of(asked: dict[str, Any]) -> str:
    return str(asked["messages"][-1]["content"])


def part(asked: dict[str, Any], name: str) -> str:
    """What stands in a request's prompt between <name> and </name>."""
    return prompt_of(asked).split(f"<{name}>\n")[1].split(f"\n</{name}>")[0]
