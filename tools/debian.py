"""Programs of the distribution that few machines have, unpacked and not installed.

    python3 tools/debian.py promtool prometheus     # a program, its package, further ones for it

Prints where the program is: on PATH, or below out/debian, unpacked from Debian's packages without
their scripts, so that no service starts. Ends with 77 where it cannot be had.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

from lock import ROOT

STATE = ROOT / "out" / "debian"
BIN = STATE / "bin"
EXIT_UNAVAILABLE = 77


class Unavailable(RuntimeError):
    """This machine cannot have what is asked for."""


def program(name: str, *packages: str) -> str:
    """Path of a program.

    Raises:
        Unavailable: it is not here, and apt-get does not have it.
    """
    found = shutil.which(name) or shutil.which(name, path=f"{BIN}:/usr/sbin:/sbin")
    return found or unpack(name, packages)


def unpack(name: str, packages: tuple[str, ...]) -> str:
    target = STATE / name
    target.mkdir(parents=True, exist_ok=True)

    def run(*command: object) -> None:
        words = [str(word) for word in command]
        subprocess.run(words, cwd=target, check=True, capture_output=True, text=True)

    try:
        run("apt-get", "update")
        run("apt-get", "download", *packages)
        for package in target.glob("*.deb"):
            run("dpkg-deb", "-x", package, target)
        (real,) = target.glob(f"usr/*bin/{name}")
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise Unavailable(f"no {name} here, and none from apt-get: {error}") from error
    libraries = next(target.glob("usr/lib/*-linux-gnu"), target)
    BIN.mkdir(exist_ok=True)
    script = BIN / name
    script.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {real} "$@"\n')
    script.chmod(0o755)
    return str(script)


if __name__ == "__main__":
    try:
        print(program(*sys.argv[1:]))
    except Unavailable as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_UNAVAILABLE)
