"""Globs over paths of files and keys of objects, and what is hidden in a folder."""

from __future__ import annotations

import re
from collections.abc import Sequence

WILDCARD = re.compile(r"[*?\[]")


class Glob:
    """A pattern of path components below a folder."""

    def __init__(self, pattern: str) -> None:
        parts = [part for part in pattern.split("/") if part]
        if pattern.endswith("/"):
            parts.append("**")
        # A run of ** is one, and ** at the end stands for files as well.
        parts = [each for at, each in enumerate(parts) if parts[at - 1 : at + 1] != ["**"] * 2]
        if parts[-1] == "**":
            parts.append("*")
        self._hidden = any(part.startswith(".") for part in parts)
        self._deep = parts.index("**") if "**" in parts else None
        self._parts = [re.compile(_component(part)) for part in parts]
        body = "".join(
            _ANY_FOLDERS if part == "**" else _component(part) + "/" for part in parts[:-1]
        )
        self._whole = re.compile(body + _component(parts[-1]), re.DOTALL)

    def matches(self, path: str) -> bool:
        """Whether a relative path is meant."""
        return self._whole.fullmatch(path) is not None

    def enters(self, folders: Sequence[str]) -> bool:
        """Whether something below this chain of folders may be meant."""
        if folders[-1].startswith(".") and not self._hidden:
            return False
        if self._deep is None and len(folders) >= len(self._parts):
            return False
        return all(
            part.fullmatch(folder)
            for part, folder in zip(self._parts[: self._deep], folders, strict=False)
        )


_ANY_FOLDERS = r"(?:(?!\.|_temporary/)[^/]+/)*"


def _component(pattern: str) -> str:
    """A component of a glob as a regular expression."""
    out = r"(?!\.)" if WILDCARD.match(pattern) else ""
    position = 0
    while position < len(pattern):
        letter = pattern[position]
        position += 1
        end = pattern.find("]", position + (pattern[position : position + 1] in ("!", "]") or 0))
        if letter == "*":
            out += "[^/]*"
        elif letter == "?":
            out += "[^/]"
        elif letter == "[" and end > position:
            inner = pattern[position:end].replace("\\", r"\\").replace("[", r"\[")
            out += f"[^{inner[1:]}/]" if inner.startswith("!") else f"[{inner}]"
            position = end + 1
        else:
            out += re.escape(letter)
    return out


def split_glob(path: str) -> tuple[str, str]:
    """The folder before the first wildcard, with its slash, and the rest."""
    wildcard = WILDCARD.search(path)
    assert wildcard is not None
    slash = path.rfind("/", 0, wildcard.start()) + 1
    return path[:slash], path[slash:]


def is_hidden(relative: str) -> bool:
    """Whether a file, or a folder above it, is left out of a listing."""
    *folders, name = relative.split("/")
    return name.startswith(".") or any(
        folder.startswith(".") or folder == "_temporary" for folder in folders
    )
