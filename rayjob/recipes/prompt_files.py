"""Prompts as text files: what the user says, and before it, where there is one, the system message.

A line that holds nothing but ``[system]`` or ``[user]`` begins that part. A file without such a
line is the user's part alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from schemas.errors import ConfigError

PromptSource = Literal["own", "built-in"]
"""Whose words a run asked with: a user's, or those that the recipe brings."""

_MARK = re.compile(r"^\[(system|user)\][ \t]*$", re.MULTILINE)
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is said to a model.

    Attributes:
        user: the user's part; empty where all is in the system message.
        system: the system message, "" for none.
    """

    user: str
    system: str = ""

    @classmethod
    def parse(cls, text: str) -> Prompt:
        """The parts of a prompt file's text, surrounding white space removed.

        Raises:
            ValueError: it is empty, has a part twice, or text before the first mark.
        """
        before, *marked = _MARK.split(text)
        if marked and before.strip():
            raise ValueError("has text before its first [system] or [user]")
        parts = dict(zip(marked[::2], (part.strip() for part in marked[1::2]), strict=True))
        if len(parts) < len(marked) // 2:
            raise ValueError("has a part twice")
        prompt = cls(**({"user": ""} | parts) if marked else {"user": text.strip()})
        if not (prompt.user or prompt.system):
            raise ValueError("is empty")
        return prompt

    @classmethod
    def read(cls, path: Path) -> Prompt:
        """The prompt in a file.

        Raises:
            ConfigError: it cannot be read, or is not a prompt.
        """
        try:
            return cls.parse(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the prompt file {path} cannot be read: {error}") from error
        except ValueError as error:
            raise ConfigError(f"the prompt file {path} {error}") from error

    def places(self) -> Iterator[str]:
        """Names of the places that are filled in, ``{input}`` by ``input``."""
        yield from _PLACE.findall(f"{self.system}\n{self.user}")


def filled(text: str, values: Mapping[str, str]) -> str:
    """A prompt's text with values in their places; what a value spells is not a place."""
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), text)
