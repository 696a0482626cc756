"""What somebody without the token gets done on a Ray cluster, by every port that answers.

    python -m tests.support.deployment.intruder HOST[:PORT] ...

Prints JSON: `open` are the ports that answered, `done` is what was not refused. A host without a
port is scanned from 1 to 65535.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import httpx

JOB = {"entrypoint": "touch /tmp/somebody-was-here"}
REQUESTS: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/api/jobs/", JOB),
    ("POST", "/api/job_agent/jobs/", JOB),
    ("GET", "/api/jobs/", None),
    ("GET", "/nodes?view=summary", None),
    ("GET", "/api/v0/actors", None),
    ("GET", "/api/v0/logs", None),
    ("GET", "/logical/actors", None),
    ("POST", "/get_or_create_runtime_env", {}),
)
CALLS = (
    "ray.rpc.InternalKVGcsService/InternalKVKeys",
    "ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "ray.rpc.NodeManagerService/GetNodeStats",
    "ray.rpc.NodeManagerService/RequestWorkerLease",
    "ray.rpc.CoreWorkerService/PushTask",
    "ray.rpc.RayletDriver/ClusterInfo",
)
"""What drivers, workers and Ray clients ask of the head, of nodes and of workers."""

REFUSED = {
    grpc.StatusCode.UNAUTHENTICATED,
    # Another service, or no gRPC at all.
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


def main() -> None:
    places = [place for word in sys.argv[1:] for place in expand(word)]
    done = [each for host, port in places for each in asked(host, port)]
    print(json.dumps({"open": places, "done": done}))


def expand(word: str) -> list[tuple[str, int]]:
    host, _, port = word.partition(":")
    return [(host, int(port))] if port else asyncio.run(scan(host))


async def scan(host: str) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    free = asyncio.Semaphore(500)

    async def knock(port: int) -> None:
        async with free:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 5)
            except (OSError, TimeoutError):
                return
            writer.close()
            found.append((host, port))

    await asyncio.gather(*(knock(port) for port in range(1, 65536)))
    return sorted(found)


def asked(host: str, port: int) -> Iterator[str]:
    """Whatever a port does for us, by HTTP and by gRPC."""
    for method, path, body in REQUESTS:
        url = f"http://{host}:{port}{path}"
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.request(method, url, json=body, timeout=10, trust_env=False)
            # Metrics are for everybody: such a port answers every path with them.
            if answer.status_code < 400 and not answer.text.startswith("# HELP"):
                yield f"{method} {url}: {answer.status_code} {answer.text[:200]}"
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        for call in CALLS:
            try:
                channel.unary_unary(f"/{call}")(b"", timeout=5)
                status = grpc.StatusCode.OK
            except grpc.RpcError as error:
                status = error.code()
            if status not in REFUSED:
                yield f"{call} at {host}:{port}: {status}"
            if status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return


if __name__ == "__main__":
    main()
