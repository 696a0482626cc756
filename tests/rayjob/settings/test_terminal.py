"""What the data says does not command a terminal."""

from __future__ import annotations

import io
import logging

from rich.console import Console

from rayjob.settings.flags import show_error
from rayjob.settings.terminal import PrintableFormatter, printable
from schemas.errors import SourceError

ESCAPE = "a\x1b]0;mine\x07\x9b31m\u202eb.mp4"
SHOWN = r"a\x1b]0;mine\x07\x9b31m\u202eb.mp4"


def test_control_characters_are_written_out() -> None:
    assert printable(ESCAPE) == SHOWN
    assert printable("é 漢 😀\n\tb") == "é 漢 😀\n\tb"


def test_errors() -> None:
    console = Console(file=io.StringIO(), width=200)
    show_error(console, SourceError(f"two inputs have the id {ESCAPE}"))
    assert console.file.getvalue() == f"error: two inputs have the id {SHOWN}\n"  # type: ignore


def test_logs() -> None:
    record = logging.LogRecord("rayjob", logging.INFO, "", 0, "%s again", (ESCAPE,), None)
    assert PrintableFormatter("%(message)s").format(record) == f"{SHOWN} again"
