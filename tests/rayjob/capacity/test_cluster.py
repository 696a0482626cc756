"""Which Ray a job joins."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import ray

from rayjob.capacity import cluster
from schemas.errors import ConfigError

CONNECT = """
import signal
from rayjob.capacity import cluster
from schemas.errors import ConfigError

def handler(*_): ...
signal.signal(signal.SIGTERM, handler)
try:
    print(cluster.connect().cpus > 0, signal.getsignal(signal.SIGTERM) is handler)
except ConfigError as error:
    print(error)
"""


def connect(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CONNECT],
        capture_output=True,
        text=True,
        timeout=100,
        env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | environment,
        check=True,
    )
    return done.stdout.strip()


def test_what_ran_on_this_machine_before_is_not_joined() -> None:
    # Short, as the paths of Ray's sockets must be.
    with tempfile.TemporaryDirectory(prefix="rj-", dir="/tmp") as folder:
        (Path(folder) / "ray").mkdir()
        (Path(folder) / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
        # Ray's own handler of SIGTERM is not left in place.
        assert connect(RAY_TMPDIR=folder) == "True True"


def test_a_cluster_that_does_not_answer_is_named() -> None:
    told = connect(RAY_ADDRESS="127.0.0.1:9")
    assert told.startswith("Ray at 127.0.0.1:9 does not answer")


def test_a_ray_that_starts_too_slowly_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_options: object) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray does

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ConfigError, match="Ray does not start: The current node timed out"):
        cluster.connect()
