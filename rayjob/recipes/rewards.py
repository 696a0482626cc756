"""How good a length is, as a number."""

from __future__ import annotations


def length_score(required: int, written: int) -> float:
    """S_L of ``written`` words where ``required`` were: 0 to 100 (LongWriter).

    Longer: 100 * max(0, 1 - (written / required - 1) / 3), so 0 from four times the length.
    Shorter: 100 * max(0, 1 - (required / written - 1) / 2), so 0 up to a third of it.

    >>> length_score(1000, 2000), length_score(1000, 500)
    (66.66666666666667, 50.0)
    """
    if written == 0 or required == 0:
        return 100.0 if written == required else 0.0
    if written > required:
        return 100 * max(0.0, 1 - (written / required - 1) / 3)
    return 100 * max(0.0, 1 - (required / written - 1) / 2)
