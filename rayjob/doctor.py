"""``python -m rayjob.doctor``: what this machine's kernel keeps a decoding process from."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

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
    table = Table.grid(padding=(0, 2))
    for name, takes in LAYERS.items():
        state = f"off: {layers[name]}" if layers[name] else "on"
        table.add_row(name, escape(state), takes)
    Console().print(table, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(command)
