"""The set-up behind ``make demo``, with a pip that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"

PIP = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
    *--extra-index-url*) exit {status} ;;
    *torch==*) echo "ERROR: in words that nobody foresaw" >&2; exit 1 ;;
esac
"""


@pytest.mark.parametrize("status", [0, 1])
def test_torch_is_sought_at_pytorchs_index_whatever_pip_says(tmp_path: Path, status: int) -> None:
    log = tmp_path / "log"
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(PIP.format(log=log, status=status))
    python.chmod(0o755)
    code = "import pathlib, sys, setup_env; setup_env.install(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=TOOLS, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    calls = log.read_text().splitlines()
    assert ["--extra-index-url" in call for call in calls] == [False, True, True][: 3 - status]
    assert done.returncode == status, done.stderr
    if status:
        assert "in words that nobody foresaw" in done.stderr
