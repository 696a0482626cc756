"""Text from the data on its way to a terminal."""

from __future__ import annotations

import logging


def printable(text: str) -> str:
    """The text with an escape sequence of Python in the place of each control character.

    Ids, paths and messages may hold any: a terminal would obey them.
    """
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode()
        for each in text
    )


class PrintableFormatter(logging.Formatter):
    """Lines of a log, :func:`printable`."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        return printable(super().format(record))
