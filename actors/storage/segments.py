"""Spans of files, as the end of an address: ``#t=BEGIN,END``, the W3C's media fragment.

Times are seconds or ``H:MM:SS.mmm``. ``#t=,20`` begins with the file, ``#t=12.5`` ends with it.
What a manifest gives as a time and is not one stands there behind a question mark, so that the
input becomes a failure that says what was written.
"""

from __future__ import annotations

import math
import re
from urllib.parse import quote, unquote

from actors.storage.uris import split_segment
from schemas.errors import SegmentError
from schemas.media import Segment

_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)")


def segment_of(uri: str) -> Segment | None:
    """The span that an address names; None for a whole file.

    Raises:
        SegmentError: it is not one: negative, empty, reversed, not finite, or not a time at all.
    """
    fragment = split_segment(uri)[1]
    if not fragment:
        return None
    begin, _, end = fragment[3:].removeprefix("npt:").partition(",")
    if not begin and not end:
        raise SegmentError(f"the segment {fragment!r} names no time")
    return _checked(_seconds(begin) if begin else 0.0, _seconds(end) if end else None)


def segment_begin(uri: str) -> float:
    """Where an input begins in its file, in seconds; 0.0 for what is not a span."""
    try:
        segment = segment_of(uri)
    except SegmentError:
        segment = None
    return 0.0 if segment is None else segment.begin


def fragment_of(begin: float | str | None, end: float | str | None) -> str:
    """A span as the end of an address, in one form whatever form its times have.

    Args:
        begin, end: seconds, or a time as text; None or an empty text for the file's own.

    Returns:
        "" where neither is given. :func:`segment_of` raises for what is not a span.
    """
    written = [_written(each) for each in (begin, end)]
    if not any(written):
        return ""
    return f"#t={written[0] or '0'}" + (f",{written[1]}" if written[1] else "")


def part_of(video_id: str, begin: float, end: float) -> str:
    """The id of a part of a video, given the id of the video or of another part of it."""
    return split_segment(video_id)[0] + fragment_of(begin, end)


def plain_fragment(fragment: str) -> str:
    """A fragment of an address in the form that :func:`fragment_of` gives it."""
    if not fragment:
        return ""
    begin, _, end = fragment[3:].removeprefix("npt:").partition(",")
    return fragment_of(begin, end) or fragment


def _written(time: float | str | None) -> str:
    if time is None:
        return ""
    if isinstance(time, str):
        text = time.strip()
        if not text or text.startswith("?"):
            return text
        try:
            time = _seconds(text)
        except SegmentError:
            return f"?{quote(text, safe=' ')}"
    if not math.isfinite(time):
        return f"{time}"
    return f"{time:.6f}".rstrip("0").removesuffix(".")


def _seconds(text: str) -> float:
    clock = _CLOCK.fullmatch(text)
    try:
        if clock is None:
            return float(text)
        return 3600 * int(clock[1] or 0) + 60 * int(clock[2]) + float(clock[3])
    except ValueError:
        shown = unquote(text.removeprefix("?"))
        raise SegmentError(f"{shown!r:.100} is not a time; write seconds or H:MM:SS.mmm") from None


def _checked(begin: float, end: float | None) -> Segment:
    shown = f"the segment from {begin:g} s to {'the end' if end is None else f'{end:g} s'}"
    if not math.isfinite(begin) or not (end is None or math.isfinite(end)):
        raise SegmentError(f"{shown} has a time that is not finite")
    if begin < 0:
        raise SegmentError(f"{shown} begins before the video")
    if end is not None and end <= begin:
        raise SegmentError(f"{shown} {'is empty' if end == begin else 'ends before it begins'}")
    return Segment(begin, end)
