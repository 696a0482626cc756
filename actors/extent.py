"""Whether all of a file is there: what it announces against what it holds."""

from __future__ import annotations

from dataclasses import dataclass

from actors.probe import Source
from schemas.errors import TruncatedMediaError

_ROOM_SEC, _ROOM_SHARE = 0.5, 0.02
"""How far headers and packets differ in whole files: a header may count what an encoder added
to the sound, or guess how long the last frame is shown."""


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How far a file goes, in seconds.

    Attributes:
        announced: by its header or index, 0.0 where neither says.
        there: as far as it holds packets; ``announced`` for an indexed file that is whole.
        sound_end: when the sound's packets end on the container's clock, None without any.
    """

    announced: float
    there: float
    sound_end: float | None


def check_complete(source: Source, extent: Extent) -> None:
    """Tell a file that ends early from a whole one.

    Raises:
        TruncatedMediaError: less is there than the limits ask for.
    """
    announced, there = extent.announced, extent.there
    room = 0.0 if source.cut else max(_ROOM_SEC, _ROOM_SHARE * announced)
    if announced - there <= room:
        return
    sentence = f"the header announces {announced:.1f} s, {there:.1f} s are there"
    if there < source.limits.min_complete * announced:
        raise TruncatedMediaError(
            f"the file is cut off: {sentence}. Upload it again, or set "
            "decode.limits.min_complete to caption what is there"
        )
    source.warn(sentence)
