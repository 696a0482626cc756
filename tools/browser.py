"""A Chromium for the tests of the report: found, or installed by the set-up.

Standard library alone: the set-up runs this before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

MISSING = (
    "no working Chromium was found, which the tests of the report open their pages in. Install "
    "one, with the system's packages (`apt-get install chromium`) or with "
    "`.venv/bin/python -m playwright install --with-deps chromium`"
)

_ASK_PLAYWRIGHT = (
    "from playwright.sync_api import sync_playwright\n"
    "with sync_playwright() as playwright: print(playwright.chromium.executable_path)"
)


def find_browser(python: Path) -> str | None:
    """A Chromium that starts: one on PATH, or else the one that Playwright has installed.

    Args:
        python: the interpreter of the virtual environment.
    """
    for name in NAMES:
        program = shutil.which(name)
        if program and _starts(program):
            return program
    own = _output([str(python), "-c", _ASK_PLAYWRIGHT])
    return own if own and Path(own).exists() and _starts(own) else None


def ensure_browser(python: Path) -> None:
    """Install one if there is none; says so where that fails, and leaves it to the tests."""
    if find_browser(python):
        return
    print("installing Chromium for the tests of the report", flush=True)
    attempts = [[[str(python), "-m", "playwright", "install", "chromium"]]]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        attempts.append(
            [["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]]
        )
    for commands in attempts:
        for command in commands:
            _output(command, seconds=600)
        if find_browser(python):
            return
    print(f"warning: {MISSING}", flush=True)


def _starts(program: str) -> bool:
    """Some distributions have a program of that name that merely tells how to get it."""
    return _output([program, "--version"]) is not None


def _output(command: list[str], *, seconds: float = 60) -> str | None:
    """What a command prints; None where it fails or takes longer."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=True,
            stdin=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
