"""Which Ray a job joins."""

import json
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


OWN = """
import json, sys, time
import psutil
from rayjob.capacity import cluster

cluster.connect()
time.sleep(5)  # for Ray's agents
here = psutil.Process()
sockets = [each for part in (here, *here.children(recursive=True))
           for each in part.net_connections("inet")]
print(json.dumps(sorted({each.laddr.port for each in sockets if each.status == "LISTEN"})))
sys.stdout.flush()
sys.stdin.read()
"""


def test_a_ray_of_our_own_wants_its_token() -> None:
    """Also where nobody set anything up: it listens on all of the machine's addresses."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="rj-", dir="/tmp") as folder:
        with subprocess.Popen(
            [sys.executable, "-c", OWN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env | {"HOME": folder, "RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"},
        ) as process:
            assert process.stdout is not None
            ports = json.loads(process.stdout.readline())
            asked = [f"127.0.0.1:{port}" for port in ports]
            command = [sys.executable, "-m", "tests.support.deployment.intruder", *asked]
            told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
            process.communicate()
        assert told.returncode == 0, told.stderr
        assert len(json.loads(told.stdout)["open"]) > 4
        assert json.loads(told.stdout)["done"] == []


def test_a_cluster_that_does_not_answer_is_named() -> None:
    told = connect(RAY_ADDRESS="127.0.0.1:9")
    assert told.startswith("Ray at 127.0.0.1:9 does not answer")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ray::Task() (pid=1)\n  File 'a.py'\nValueError: broken\n", "ValueError: broken"),
        ("task\nschemas.errors.ModelError: no such model\n  [type=value_error]", "no such model"),
        ("1 error\n  Value error\n    For further information visit x", "Value error"),
        ("", "RuntimeError"),
    ],
)
def test_of_what_ray_wraps_the_innermost_is_told(text: str, told: str) -> None:
    assert cluster.innermost(RuntimeError(text)) == told


def test_a_ray_that_starts_too_slowly_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_options: object) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray does

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ConfigError, match="Ray does not start: The current node timed out"):
        cluster.connect()
