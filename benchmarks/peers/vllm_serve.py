"""What ``vllm serve`` runs, which reads the clips itself, and a client of fixed concurrency."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from openai import AsyncOpenAI

from benchmarks.peers.common import FRAMES, Log, Setup, paths_of_arguments, setup

_START_SEC = 300.0
_ANSWER_SEC = 300.0
_NOT_FOR_SERVE = {"disable_log_stats"}


def main() -> None:
    """Caption the clips of ``--folder``."""
    paths, chosen, log = paths_of_arguments(), setup(), Log()
    with _server(chosen, Path(paths[0]).parent) as address:
        asyncio.run(_ask_all(address, paths, chosen, log))
    log.tell()


@contextlib.contextmanager
def _server(chosen: Setup, folder: Path) -> Iterator[str]:
    """Start one; yield the address of its API when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *(
            "--model",
            chosen.model,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--disable-uvicorn-access-log",
        ),
        *("--allowed-local-media-path", str(folder.resolve())),
        *("--media-io-kwargs", json.dumps({"video": {"num_frames": FRAMES}})),
        *_flags(chosen),
    ]
    server = subprocess.Popen(
        command,
        env=os.environ | chosen.environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait(server, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def _flags(chosen: Setup) -> Iterator[str]:
    for name, value in chosen.args.items():
        flag = name.replace("_", "-")
        if name in _NOT_FOR_SERVE or value is None or value == "":
            continue
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        else:
            yield f"--{flag}"
            yield json.dumps(value) if isinstance(value, dict) else str(value)


def _wait(server: subprocess.Popen[bytes], address: str) -> None:
    ends = time.monotonic() + _START_SEC
    while time.monotonic() < ends and server.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(address, timeout=5).close()
            return
        time.sleep(0.1)
    raise RuntimeError("the server does not start")


async def _ask_all(address: str, paths: list[str], chosen: Setup, log: Log) -> None:
    client = AsyncOpenAI(base_url=address, api_key="none", max_retries=0, timeout=_ANSWER_SEC)
    slots = asyncio.Semaphore(chosen.in_flight)

    async def ask(path: str) -> None:
        async with slots:
            answer = await client.chat.completions.create(
                model=chosen.model,
                temperature=chosen.temperature,
                max_tokens=chosen.max_tokens,
                messages=[
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "video_url",
                                "video_url": {"url": Path(path).resolve().as_uri()},
                            },
                            {"type": "text", "text": chosen.prompt},
                        ],
                    }  # type: ignore[list-item,misc]
                ],
            )
        log.add(answer.usage.prompt_tokens if answer.usage else 0)

    # What is refused is a row that is missing.
    for error in await asyncio.gather(*map(ask, paths), return_exceptions=True):
        if error is not None:
            print(f"refused: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
