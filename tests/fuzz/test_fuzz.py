"""A short run of ``make fuzz``, and that it sees what it looks for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.confinement import process
from tests.fuzz import campaign
from tests.fuzz.corpus import corpus

FILES = 500

SICK_CHILD = """
import fcntl, signal
from actors.confinement import child
decode, served = child.decode, []
def sick(source, *rest):
    if source.name not in ("mp4", "matroska"):  # with which it warms up
        served.append(source.name)
    if len(served) == 2:
        fcntl.fcntl(2, fcntl.F_DUPFD, 0)
    if len(served) == 3:
        signal.raise_signal(signal.SIGSEGV)
    return decode(source, *rest)
child.decode = sick
child.main()
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return corpus(tmp_path_factory.mktemp("corpus"))


def test_encoders_leave_the_priority_of_all_that_comes_later(whole: dict[str, bytes]) -> None:
    assert "av1.mp4" in whole
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_damaged_files_cost_an_error_each(whole: dict[str, bytes], tmp_path: Path) -> None:
    came = campaign.run(whole, range(FILES), tmp_path)
    print(came)
    assert not came.wrong, "\n".join(came.wrong)
    assert came.outcomes.total() == FILES
    # Neither so gentle that nothing breaks, nor so rough that nothing is decoded.
    assert FILES / 3 < came.outcomes["decoded"] < FILES * 0.9
    assert len(came.outcomes) > 5


def test_what_is_wrong_is_seen_with_its_seed(
    whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds_modules = process._BOOTSTRAP.partition("from actors")[0]
    monkeypatch.setattr(process, "_BOOTSTRAP", f"{finds_modules}exec({SICK_CHILD!r})")
    came = campaign.run(whole, range(40, 43), tmp_path, kept=tmp_path / "kept")
    leaks, dies = came.wrong
    assert leaks.startswith("--seed 41 (") and "the child has 7 descriptors, not 6" in leaks
    assert dies.startswith("--seed 42 (") and "SIGSEGV" in dies
    assert sorted(path.name[:2] for path in (tmp_path / "kept").iterdir()) == ["41", "42"]
