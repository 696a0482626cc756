"""What happens when a process is gone, or stands still, that cannot see to it itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

REPLICA = """
import subprocess, sys, time
from actors.guard import Guard
guard = Guard(patience=2)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
print(child.pid, flush=True)
for line in sys.stdin:
    guard.beat()
"""

RUN = """
import os, signal, sys
from actors.guard import Guard
with Guard(last_words="error: gone"):
    if "killed" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    if "left" in sys.argv:
        os._exit(1)
print("done")
"""


def gone(pid: int, *, within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] in "ZX":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def started() -> tuple[subprocess.Popen[str], int]:
    replica = subprocess.Popen(
        [sys.executable, "-c", REPLICA],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert replica.stdout is not None
    return replica, int(replica.stdout.readline())


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_children_end_with_a_replica(fault: signal.Signals) -> None:
    """Killed it leaves them behind; stopped it does not even end."""
    replica, child = started()
    assert replica.stdin is not None
    replica.stdin.write("\n")
    replica.stdin.flush()
    time.sleep(0.5)
    replica.send_signal(fault)
    assert gone(child, within=10)
    assert replica.wait(timeout=10) == -signal.SIGKILL
    replica.stdin.close()


def test_a_replica_that_has_not_begun_may_take_its_time() -> None:
    replica, child = started()
    try:
        time.sleep(4)
        assert replica.poll() is None
        assert not gone(child, within=0.1)
    finally:
        os.killpg(replica.pid, signal.SIGKILL)
        replica.wait()


@pytest.mark.parametrize(("how", "said"), [("killed", True), ("left", True), ("in order", False)])
def test_last_words(how: str, said: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, how], capture_output=True, text=True, timeout=30
    )
    assert (done.stderr == "error: gone\n") is said
    assert (done.stdout == "done\n") is not said
