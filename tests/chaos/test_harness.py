"""The chaos is what it says it is, and its checks see what they look for."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rayjob.output.ledger import Ledger
from rayjob.output.store import TableStore
from tests.chaos.invariant import difference, listed, read_plainly, twice
from tests.chaos.parts import PARTS, Tormentor
from tests.support.outputs import OMNI, captioned, failed, settled, write


def test_the_invariant_sees_what_is_missing_or_twice(tmp_path: Path) -> None:
    store, expected = TableStore(tmp_path), ["a", "b", "c"]
    write(store, "one", captioned(["a"]), failed(["b"]))
    settled(Ledger(store, tables=OMNI))
    assert difference(listed(store), expected) == "missing: 1, such as c"
    assert twice(listed(store)) == ""
    write(store, "two", captioned(["b", "c"]))
    assert difference(listed(store), expected) == "missing: 1, such as c"
    assert difference(read_plainly(store), expected) == "too many: 1, such as b"
    assert twice(read_plainly(store)) == "1, such as b"
    settled(Ledger(store, tables=OMNI))
    assert difference(listed(store), expected) == difference(read_plainly(store), expected) == ""


@pytest.fixture
def parts() -> Iterator[list[psutil.Process]]:
    """Processes that look like the parts of a run, and a head that must be spared."""
    lines = [[words] for words in PARTS.values()] * 2
    lines.append([PARTS["raylet"], "--node-name=head"])
    started = [
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)", *line])
        for line in lines
    ]
    yield [psutil.Process(each.pid) for each in started]
    for each in started:
        each.kill()
        each.wait()


def test_parts_are_killed_stopped_and_continued(parts: list[psutil.Process]) -> None:
    with Tormentor(random.Random(3), lambda: parts, pause=0.05) as tormentor:
        deadline = time.monotonic() + 60
        while len(tormentor.done) < 8 and time.monotonic() < deadline:
            time.sleep(0.1)
        *mortal, head = parts
    assert len(tormentor.done) >= 8, tormentor.done
    assert head.status() != psutil.STATUS_STOPPED
    # A process that was killed at the last moment is not dead at once.
    while time.monotonic() < deadline:
        survivors, alive = tormentor.survivors(within=0.5), [e for e in mortal if _lives(e)]
        living = [each for each in alive if PARTS["raylet"] not in each.cmdline()]
        if len(survivors) == len(living):
            break
    assert len(survivors) == len(living)
    assert not [each for each in alive if each.status() == psutil.STATUS_STOPPED]


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
