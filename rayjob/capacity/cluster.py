"""Connecting to Ray: the cluster at hand, or one on this machine."""

from __future__ import annotations

import glob
import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from schemas.errors import ConfigError

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


def connect() -> Resources:
    """Join the cluster of ``RAY_ADDRESS`` (``ray job submit`` sets it), or start a local one.

    Ray would by itself also join what last ran on this machine, even if it is gone.

    Raises:
        ConfigError: the cluster cannot be reached.
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
            _knock(address)
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if address == "local" else None,
            )
        except (OSError, ValueError, RuntimeError) as error:
            what = "does not start" if address == "local" else f"at {address} does not answer"
            raise ConfigError(f"Ray {what}: {error}") from error
        if threading.current_thread() is threading.main_thread():
            # Ray's own ends the process with the signal's number as if it was an exit code.
            signal.signal(signal.SIGTERM, handler)
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return Resources(tuple(node["Resources"] for node in nodes if node["Alive"]))


def _knock(address: str) -> None:
    """OSError where nobody listens at ``HOST:PORT``: Ray itself takes minutes to say so."""
    host, colon, port = address.rpartition(":")
    if colon and "/" not in address and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()


def peek() -> Resources:
    """What :func:`connect` would find, without starting anything on this machine."""
    if ray.is_initialized() or os.environ.get("RAY_ADDRESS"):
        return connect()
    cpus, gpus = float(os.cpu_count() or 1), float(len(glob.glob("/dev/nvidia[0-9]*")))
    return Resources(({"CPU": cpus, "GPU": gpus},))
