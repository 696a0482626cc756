"""Bring the virtual environment up to date: the step behind ``make demo`` and ``make test``.

    python3 tools/setup_env.py            # create or update .venv; returns at once if current

Runs on the system's Python and its standard library alone. What it installs is fixed by
constraints.txt; where from is pip's own configuration.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this runs before requires-python is enforced
    sys.exit(
        "rayjob needs Python 3.11 or newer; this is {}.{}. Name another one with "
        "`make PYTHON=python3.11 ...`".format(*sys.version_info[:2])
    )

import argparse
import fcntl
import hashlib
import subprocess
import venv
from pathlib import Path

from browser import ensure_browser
from lock import CONSTRAINTS, ROOT, pinned

STAMP_NAME = "rayjob-setup.sha256"

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

EXTRAS = "cpu,dev,split-transnet"
"""The last one takes torch, which environments without vLLM do not have."""
"""Where the CPU builds live if pip's configured sources have none."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="default: .venv")
    arguments = parser.parse_args()
    try:
        update(arguments.venv)
    except subprocess.CalledProcessError as error:
        command = " ".join(str(part) for part in error.cmd)
        sys.exit(f"set-up failed: `{command}` ended with status {error.returncode}")


def update(venv_dir: Path) -> None:
    """Install what the stamp does not vouch for. One process at a time."""
    venv_dir.mkdir(parents=True, exist_ok=True)
    with open(venv_dir / "rayjob-setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = venv_dir / STAMP_NAME
        wanted = fingerprint()
        if stamp.exists() and stamp.read_text() == wanted and runs(venv_dir):
            return
        stamp.unlink(missing_ok=True)
        if not runs(venv_dir):
            print(f"creating {venv_dir}", flush=True)
            venv.create(venv_dir, with_pip=True, clear=False, symlinks=True)
        install(venv_dir)
        repair(venv_dir)
        ensure_browser(venv_dir / "bin" / "python")
        stamp.write_text(wanted)


def fingerprint() -> str:
    """Changes with anything that decides what the environment holds."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    for path in (ROOT / "pyproject.toml", CONSTRAINTS, *sorted((ROOT / "tools").glob("*.py"))):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def runs(venv_dir: Path) -> bool:
    """Whether the environment has a Python of this version, with pip."""
    python = venv_dir / "bin" / "python"
    if not python.exists():
        return False
    code = f"import pip, sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def install(venv_dir: Path) -> None:
    """Torch's CPU build first and by name, then the project with all that it needs."""
    # Errors only: pip warns of every configured source that lacks a package.
    pip = [venv_dir / "bin" / "python", "-m", "pip", "install", "-qq", "--progress-bar", "off"]
    pip += ["--constraint", CONSTRAINTS]
    torch = f"torch=={pinned('torch', CONSTRAINTS.read_text('utf-8'))}+cpu"
    print(f"installing {torch}", flush=True)
    sources: list[str] = []
    attempt = subprocess.run([*pip, torch], stderr=subprocess.PIPE, text=True, check=False)
    if attempt.returncode:
        sources = ["--extra-index-url", TORCH_CPU_INDEX]
        if subprocess.run([*pip, *sources, torch], check=False).returncode:
            sys.exit(
                f"set-up failed: no source of pip has {torch}; the first attempt said:\n"
                f"{attempt.stderr.strip()}"
            )
    print(f"installing rayjob[{EXTRAS}] and what it needs (about 3 GB, some minutes)", flush=True)
    subprocess.run([*pip, *sources, "--editable", f"{ROOT}[{EXTRAS}]"], check=True, cwd=ROOT)


def repair(venv_dir: Path) -> None:
    """Make CUDA builds of torch's companions harmless on a CPU torch (see torch_repair.py)."""
    python = venv_dir / "bin" / "python"
    subprocess.run([python, ROOT / "tools" / "torch_repair.py"], check=True)


if __name__ == "__main__":
    main()
