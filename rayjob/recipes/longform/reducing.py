"""Packing timed texts into what a model's context holds, neighbours first.

A plan of the reduce is plain data, made before anything is asked: which texts go into which
request. Texts are never reordered, and nothing is left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_STAMP = re.compile(r"\[(?:\d+:)?\d+:\d\d(?:-(?:\d+:)?\d+:\d\d)?\]")


@dataclass(frozen=True, kw_only=True)
class TimedText:
    """Some text about a part of a video.

    Attributes:
        text: without its time stamp; may have several lines.
        tokens: of the text with its time stamp.
    """

    start_sec: float
    end_sec: float
    text: str
    tokens: int

    def stamped(self) -> str:
        """``[00:05-00:15] text``."""
        return f"{stamp(self.start_sec, self.end_sec)} {self.text}"


def stamp(start_sec: float, end_sec: float | None = None) -> str:
    """``[00:05-00:15]``, ``[00:05]`` or ``[1:00:05]``: minutes and seconds, hours where needed."""
    parts = [_clock(start_sec)] + ([] if end_sec is None else [_clock(end_sec)])
    return f"[{'-'.join(parts)}]"


def unstamped(text: str) -> str:
    """The text without any stamp."""
    return _STAMP.sub("", text)


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"


def pack(texts: Sequence[TimedText], *, budget: int, least: int = 1) -> list[list[TimedText]]:
    """Group neighbours so that each group has at most ``budget`` tokens, in groups of like size.

    Args:
        least: of groups, as far as there are texts.

    Raises:
        ValueError: a single text is larger than the budget.
    """
    largest = max((text.tokens for text in texts), default=0)
    if largest > budget:
        raise ValueError(f"a text of {largest} tokens does not fit {budget}")
    total = sum(text.tokens for text in texts)
    count = max(1, min(least, len(texts)), -(-total // budget))
    while True:
        groups = _filled(texts, budget=budget, target=total / count)
        if len(groups) <= count or count >= len(texts):
            return groups
        # Uneven texts need more groups than their sum asks for.
        count = len(groups)


def _filled(texts: Sequence[TimedText], *, budget: int, target: float) -> list[list[TimedText]]:
    groups: list[list[TimedText]] = []
    size = 0
    for text in texts:
        middle = size + text.tokens / 2
        if not groups or size + text.tokens > budget or middle > target:
            groups.append([])
            size = 0
        groups[-1].append(text)
        size += text.tokens
    return groups
