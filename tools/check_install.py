"""An empty environment per Python of this machine, installed as a head node is, and timed.

    python3 tools/check_install.py [--limit SECONDS] [--tests]

Runs what the README and cluster.yaml run, pip and all: one that does not come to an end within the
limit, packages that do not fit each other, or a command that does not start, is an error. With
--tests, the unit tests that need no vLLM run in the environments of all Pythons but this one, which
`make test` runs with. Pythons are those of pyproject.toml that are on PATH or that pyenv holds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lock import CONSTRAINTS, ROOT

VERSIONS = ("3.11", "3.12", "3.13")
UNIT_TESTS = ("tests/schemas", "tests/actors", "tests/rayjob", "--ignore", "tests/actors/engine")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=float, default=420, help="seconds for one [420]")
    parser.add_argument("--tests", action="store_true", help="run unit tests as well")
    limit, tests = vars(parser.parse_args()).values()
    found = {version: python for version in VERSIONS if (python := find(version))}
    if not found:
        sys.exit(f"none of Python {', '.join(VERSIONS)} is on this machine")
    for version in VERSIONS:
        if version not in found:
            print(f"Python {version}: not on this machine, not tried", flush=True)
    failed = list[str]()
    for version, python in found.items():
        with tempfile.TemporaryDirectory(prefix="rayjob-install-") as folder:
            subprocess.run([python, "-m", "venv", folder], check=True)
            if not installs(version, Path(folder), limit):
                failed.append(f"a head node does not install with Python {version}")
            elif tests and not sys.version.startswith(version) and not passes(Path(folder)):
                failed.append(f"unit tests fail with Python {version}")
    if failed:
        sys.exit("\n".join(failed))


def find(version: str) -> str | None:
    """An interpreter of the version that starts."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(root.glob(f"{version}.*/bin/python"))]
    code = f"import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for python in candidates:
        if python and not subprocess.run([python, "-c", code], capture_output=True).returncode:
            return str(python)
    return None


def installs(version: str, folder: Path, limit: float) -> bool:
    """Install into an empty environment; says how long it took."""
    pip: list[str | Path] = [folder / "bin/python", "-m", "pip"]
    began = time.monotonic()
    try:
        steps = [[*pip, "install", "-qq", "-c", CONSTRAINTS, ROOT], [*pip, "check"]]
        for step in [*steps, [folder / "bin/rayjob", "--help"]]:
            subprocess.run(
                step, check=True, timeout=limit, capture_output=True, text=True, cwd=folder
            )
    except subprocess.TimeoutExpired:
        print(f"Python {version}: not installed after {limit:.0f} s", flush=True)
        return False
    except subprocess.CalledProcessError as error:
        print(f"Python {version}: {error}\n{error.stdout}{error.stderr}", flush=True)
        return False
    print(f"Python {version}: installed in {time.monotonic() - began:.0f} s", flush=True)
    return True


def passes(folder: Path) -> bool:
    """Whether the unit tests pass in the environment, which has no vLLM.

    Those that fail run once more by themselves: a Python fails them again, a busy machine does not.
    (`make test` forgives nothing.)
    """
    python = folder / "bin/python"
    install = [python, "-m", "pip", "install", "-qq", "-c", CONSTRAINTS, f"{ROOT}[dev]"]
    test = [python, "-m", "pytest", "-q", "-m", "not slow and not vllm"]
    test += ["-n", "2", "-o", f"cache_dir={folder}/cache", *UNIT_TESTS]

    def runs(command: list[str | Path]) -> bool:
        return subprocess.run(command, cwd=ROOT).returncode == 0

    return runs(install) and (runs(test) or runs([*test, "--last-failed"]))


if __name__ == "__main__":
    main()
