"""Which layers of the decoding process's confinement are on, as the command tells it."""

from __future__ import annotations

import subprocess
import sys

from actors.confinement.layers import LAYERS
from tests.support.jobs import NEEDS_NAMESPACES, ROOT, WITHOUT_NAMESPACES


def doctor(*before: str) -> list[list[str]]:
    done = subprocess.run(
        [*before, sys.executable, "-m", "rayjob.doctor"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return [line.split(None, 2) for line in done.stdout.splitlines()]


def test_every_layer_is_told() -> None:
    told = doctor()
    assert [name for name, _, _ in told] == list(LAYERS)
    assert {state for _, state, _ in told} <= {"on", "off:"}


@NEEDS_NAMESPACES
def test_a_layer_that_the_kernel_refuses_is_told() -> None:
    told = {name: (state, rest) for name, state, rest in doctor(*WITHOUT_NAMESPACES)}
    assert list(told) == list(LAYERS)
    state, reason = told.pop("namespaces")
    assert state == "off:" and reason.startswith("No space left on device")
