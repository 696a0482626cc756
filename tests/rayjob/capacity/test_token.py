"""Clusters with and without a token, and clients that have the right one, another one, or none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.ray_nodes import RayCluster, free_port
from tests.support.services import write_files

ASK = """
import json, os, sys
import ray
from rayjob.capacity.cluster import connect
from rayjob.submit import _client
from schemas.errors import ConfigError

def told(ask):
    try:
        return ask() and None
    except ConfigError as error:
        return str(error)
    finally:
        ray.shutdown()

def join(address):
    os.environ["RAY_ADDRESS"] = address
    return connect()

print(json.dumps([
    # RAY_ADDRESS is still set when the job server is asked: what is named wins over it.
    [told(lambda: join(address)), told(lambda: _client(dashboard))]
    for address, dashboard in json.loads(sys.argv[1])
]))
"""

WANTS = "wants a token, and none is used here: store"
WRONG = "does not take this token: store"
OPEN = "wants no token, so that anyone"
LACKS = "no token for a Ray cluster"


@pytest.fixture(scope="module")
def guarded() -> Iterator[RayCluster]:
    with RayCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def unguarded() -> Iterator[RayCluster]:
    with RayCluster(env={"RAY_AUTH_MODE": "disabled"}) as cluster:
        yield cluster


@pytest.mark.parametrize(
    ("mode", "stored", "of_guarded", "of_unguarded"),
    [
        # What a person has who never used Ray, one who has the token, and one with another's.
        (None, None, WANTS, None),
        (None, "right", None, OPEN),
        (None, "wrong", WRONG, OPEN),
        # Set in so many words.
        ("token", "right", None, OPEN),
        ("token", None, LACKS, LACKS),
        ("disabled", "right", WANTS, None),
    ],
)
def test_what_a_client_is_told(
    guarded: RayCluster,
    unguarded: RayCluster,
    tmp_path: Path,
    mode: str | None,
    stored: str | None,
    of_guarded: str | None,
    of_unguarded: str | None,
) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    env |= {"HOME": str(tmp_path)} | ({"RAY_AUTH_MODE": mode} if mode else {})
    if stored:
        token = os.environ["RAY_AUTH_TOKEN"] if stored == "right" else "0" * 64
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text(token)
    nobody = f"127.0.0.1:{free_port()}"
    asked = [(cluster.address, cluster.dashboard) for cluster in (guarded, unguarded)]
    asked.append((nobody, f"http://{nobody}"))
    command = [sys.executable, "-c", ASK, json.dumps(asked)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    for answers, expected in zip(told[:2], (of_guarded, of_unguarded), strict=True):
        for answer in answers:
            assert answer is None if expected is None else expected in answer, told
    if expected != LACKS:
        joining, submitting = told[2]
        assert "does not answer" in joining and "no job server" in submitting
    # The token is in none of what is printed.
    assert os.environ["RAY_AUTH_TOKEN"] not in done.stdout + done.stderr


def test_without_the_token_nothing_is_done(guarded: RayCluster) -> None:
    job = {"entrypoint": "touch /tmp/never", "runtime_env": {}}
    assert httpx.post(f"{guarded.dashboard}/api/jobs/", json=job).status_code == 401
    for path in ("/api/jobs/", "/api/v0/actors", "/nodes?view=summary", "/api/version"):
        assert httpx.get(f"{guarded.dashboard}{path}").status_code == 401
    headers = {"Authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
    assert httpx.get(f"{guarded.dashboard}/api/version", headers=headers).status_code == 200


def scanned(cluster: RayCluster) -> dict[str, list[Any]]:
    """What somebody without the token gets of all ports of a cluster."""
    ports = [f"127.0.0.1:{port}" for port in cluster.ports()]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    command = [sys.executable, "-m", "tests.support.deployment.intruder", *ports]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found


def test_no_port_does_anything_without_the_token(
    guarded: RayCluster, unguarded: RayCluster
) -> None:
    assert "\n".join(scanned(guarded)["done"]) == ""
    # The same requests are served where no token is wanted.
    served = " ".join(scanned(unguarded)["done"])
    for request in ("POST", "GET", "/api/jobs/", "GetAllNodeInfo"):
        assert request in served


def test_a_command_ends_with_2_and_one_sentence(guarded: RayCluster, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    env |= {"HOME": str(tmp_path), "RAY_ADDRESS": guarded.address}
    clip = write_files(tmp_path, {"in/clip.mp4": b"x"}) / "in"
    job = ["--config", "configs/demo.yaml", "--input", str(clip), "--output", str(tmp_path / "out")]
    for command in (
        ["rayjob.submit", "--address", guarded.dashboard, "--working-dir", "", "--", "true"],
        ["rayjob.caption", *job],
        ["rayjob.caption", *job, "--dry-run"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], env=env, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert "wants a token" in done.stderr.replace("\n", " ")
