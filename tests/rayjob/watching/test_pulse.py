"""The driver's own sign of life."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from rayjob.watching.pulse import Pulse


def test_silence_is_counted_from_the_last_change(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pulse = Pulse(limit=60)
    pulse.turn(1)
    for _ in range(40):
        now[0] += 1
        pulse.turn(1)
    assert pulse.turn(1) == 40
    assert pulse.turn(2) == 0
    now[0] += 3
    assert pulse.turn(2) == 3
    now[0] += 3600
    assert pulse.turn(2) == 8, "the machine was suspended"


def test_it_beats_only_while_the_loop_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr("rayjob.watching.pulse._LOOK_SECONDS", 60.0)
    pulse = Pulse(limit=60)
    now[0] += 1000
    assert pulse.is_beating(), "there is no loop yet"
    with pulse:
        now[0] += 61
        assert not pulse.is_beating()
        pulse.turn(1)
        assert pulse.is_beating()
        now[0] += 61
    assert pulse.is_beating(), "the loop is through"


def test_a_driver_that_stands_still_ends_with_its_stacks() -> None:
    code = (
        "import time\nfrom rayjob.watching.pulse import Pulse\n"
        "def stuck():\n    time.sleep(60)\n"
        "with Pulse(limit=0.5, before_exit=lambda: print('bye', flush=True)):\n    stuck()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stdout == "bye\n"
    assert "in stuck" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: the run stopped: its driver")
