"""``python -m rayjob.doctor``: what this machine's kernel keeps a decoding process from."""

from __future__ import annotations

import typer
from rich.console import Console

from actors.confinement.layers import LAYERS
from actors.confinement.sandbox import DecodeSandbox
from rayjob.settings.flags import errors_told
from schemas.media import DecodeLimits, StorageOptions


def command() -> None:
    """Start a decoding process here, and show which layers of its confinement are on.

    Exit codes: 0 it started, whatever is on, 1 it did not.
    """
    sandbox = DecodeSandbox(DecodeLimits(), StorageOptions())
    with errors_told(Console(stderr=True)), sandbox:
        layers = sandbox.layers()
    states = {name: f"off: {why}" if why else "on" for name, why in layers.items()}
    name_width, state_width = max(map(len, states)), max(map(len, states.values()))
    for name, takes in LAYERS.items():
        print(f"{name:{name_width}}  {states[name]:{state_width}}  {takes}")


if __name__ == "__main__":
    typer.run(command)
