"""Connecting to Ray: the cluster at hand, or one on this machine."""

from __future__ import annotations

import glob
import logging
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import ray
from ray._private import services
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayjob.capacity.token import check_answer, token_headers
from schemas.errors import ConfigError, RayjobError

_GREETING = "/ray.rpc.NodeInfoGcsService/GetClusterId"

_KNOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Resources:
    """What a cluster offers, in Ray's units.

    Attributes:
        nodes: what each of its nodes offers, by Ray's names.
    """

    nodes: tuple[Mapping[str, float], ...]

    @property
    def cpus(self) -> float:
        """Logical CPUs of all nodes."""
        return sum(node.get("CPU", 0.0) for node in self.nodes)


def beside_driver(kind: type, **options: Any) -> Any:
    """Start an actor that asks for no CPU, on the node of this process; its handle."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(kind)
    return actor.options(num_cpus=0, scheduling_strategy=here, **options).remote()


def connect() -> Resources:
    """Join the cluster of ``RAY_ADDRESS`` (``ray job submit`` sets it), or start a local one.

    Ray would by itself also join what last ran on this machine, even if it is gone. A cluster's
    token is used where there is one; a local Ray makes its own.

    Raises:
        ConfigError: the cluster cannot be reached, or they do not agree about the token.
    """
    if not ray.is_initialized():
        # Ray Data reports every operator every ten seconds; the job has its own progress.
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # Else the C++ side prints a warning to the terminal for each actor pool.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        address = os.environ.get("RAY_ADDRESS") or "local"
        handler = signal.getsignal(signal.SIGTERM)
        try:
            if address != "local":
                address = reach(address)
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if address == "local" else None,
            )
        except RayjobError:
            raise
        except Exception as error:  # nothing better, where a node takes too long to start
            what = "does not start" if address == "local" else f"at {address} does not answer"
            raise ConfigError(f"Ray {what}: {error}") from error
        if threading.current_thread() is threading.main_thread():
            # Ray's own ends the process with the signal's number as if it was an exit code.
            signal.signal(signal.SIGTERM, handler)
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return Resources(tuple(node["Resources"] for node in nodes if node["Alive"]))


def reach(address: str) -> str:
    """Ask a cluster at ``HOST:PORT`` or ``auto`` for what every driver asks first.

    Ray itself takes 20 seconds and more to find that nobody listens or that the token is wrong,
    and does not tell which. Other kinds of addresses pass without a question.

    Returns:
        The address, that of the cluster on this machine in place of ``auto``.

    Raises:
        ConfigError: cluster and process do not agree about the token.
        ConnectionError: nobody listens.
    """
    headers = token_headers()
    if address == "auto":
        address = services.canonicalize_bootstrap_address_or_die(address)
    _, colon, port = address.rpartition(":")
    if not colon or "/" in address or not port.isdigit():
        return address
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(_GREETING)

        def admits(token: Mapping[str, str]) -> bool:
            try:
                ask(b"", timeout=_KNOCK_SECONDS, metadata=tuple(token.items()))
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                    return False
                raise ConnectionError(error.details()) from error
            return True

        without = admits({})
        check_answer(address, headers, admitted=without or admits(headers), without=without)
    return address


def innermost(error: BaseException) -> str:
    """The sentence of a worker's own error, which Ray wraps several times."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in reversed(lines):
        if "ModelError: " in line:
            return line.partition("ModelError: ")[2]
    # What pydantic ends its errors with.
    lines = [line for line in lines if not line.startswith("For further information")]
    return lines[-1] if lines else type(error).__name__


def peek() -> Resources:
    """What :func:`connect` would find, without starting anything on this machine."""
    if ray.is_initialized() or os.environ.get("RAY_ADDRESS"):
        return connect()
    cpus, gpus = float(os.cpu_count() or 1), float(len(glob.glob("/dev/nvidia[0-9]*")))
    return Resources(({"CPU": cpus, "GPU": gpus},))
