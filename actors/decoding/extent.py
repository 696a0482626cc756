"""Whether all of a file is there: what it announces against what it holds."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import av

from actors.decoding.probe import Source
from actors.decoding.sampling import Timeline
from actors.decoding.schedule import Schedule
from actors.storage.range_reader import RangeReader
from schemas.errors import CorruptMediaError, SegmentError, TruncatedMediaError
from schemas.media import Segment

_ROOM_SEC, _ROOM_SHARE = 0.5, 0.02
"""How far headers and packets differ in whole files: a header may count what an encoder added
to the sound, or guess how long the last frame is shown."""

_ROUNDED_SEC = 0.1
"""Whoever cut a video into segments may take it for so much longer than it is."""

_LIE, _LIE_SEC = 10, 60.0
"""A picture so many times longer than its file, and longer than so many seconds, is a lie."""

_LONGER, _LONGER_SEC = 1.5, 1.0
"""One so many times and seconds longer is told."""

MOST_FRAMES_PER_SEC = 1000
_FEW = 10
"""Of so few frames two may be as near as they like."""


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


def riff_bytes(reader: RangeReader) -> int:
    """Bytes that an AVI or WAV file announces, 0 for other files and where it does not say.

    FFmpeg makes the length of such a file up from the bytes that are there. Moves the reader.
    """
    at = end = 0
    # A large AVI file is several chunks one after the other, of a gigabyte each.
    while at < reader.size:
        reader.seek(at)
        header = reader.read(8)
        if len(header) < 8 or header[:4] != b"RIFF":
            break
        size = int.from_bytes(header[4:], "little")
        if size in (0, 0xFFFFFFFF):
            return 0
        end = at + 8 + size
        at = end + size % 2
    return end


def index_is_cut(reader: RangeReader) -> bool:
    """Whether an MP4 or MOV file ends inside its index."""
    at, before = 0, reader.tell()
    kind = b""
    while at + 8 <= reader.size:
        reader.seek(at)
        size, kind = struct.unpack(">I4s8x", reader.read(16).ljust(16, b"\0"))
        if size == 1:
            reader.seek(at + 8)
            size = int.from_bytes(reader.read(8), "big")
        if size < 8:
            break
        at += size
    # FFmpeg reads on from where it was.
    reader.seek(before)
    return bool(at > reader.size and kind == b"moov")


def is_animated_webp(reader: RangeReader) -> bool:
    """Whether a file is WebP of several images, of which FFmpeg decodes none. Moves the reader."""
    reader.seek(0)
    header = reader.read(21).ljust(21, b"\0")
    return header[8:16] == b"WEBPVP8X" and bool(header[20] & 2)


def check_length(source: Source, timeline: Timeline) -> None:
    """Tell a header that lies about how long the picture is, by its time scale.

    Args:
        timeline: of the picture, by its own time scale.

    Raises:
        CorruptMediaError: no camera takes so many frames in so short a time, or by the same header
            of an MP4 or MOV file the file is many times shorter.
    """
    length = timeline.duration
    if timeline.count >= _FEW and timeline.rate > MOST_FRAMES_PER_SEC:
        raise CorruptMediaError(f"the header crowds {timeline.count} frames into {length:.2g} s")
    if not source.container.format.name.startswith("mov"):
        return
    announced = (source.container.duration or 0) / av.time_base
    if announced <= 0 or length <= _LONGER * announced + _LONGER_SEC:
        return
    sentence = (
        f"the header contradicts itself: the file lasts {announced:.1f} s, "
        f"its picture {length:.0f} s"
    )
    if length > _LIE * announced and length > _LIE_SEC:
        raise CorruptMediaError(sentence)
    source.warn(sentence)


def check_complete(source: Source, extent: Extent, *, what: str = "") -> None:
    """Tell a file that ends early from a whole one.

    Args:
        what: is named as the one that the extent is of.

    Raises:
        TruncatedMediaError: less is there than the limits ask for.
    """
    announced, there = extent.announced, extent.there
    room = 0.0 if source.cut else max(_ROOM_SEC, _ROOM_SHARE * announced)
    if announced - there <= room:
        return
    sentence = f"{what}the header announces {announced:.1f} s, {there:.1f} s are there"
    if there < source.limits.min_complete * announced:
        raise TruncatedMediaError(
            f"the file is cut off: {sentence}. Upload it again, or set "
            "decode.limits.min_complete to caption what is there"
        )
    source.warn(sentence)


def span_of(
    source: Source,
    segment: Segment,
    schedule: Schedule | None,
    extent: Extent,
    start: float,
) -> tuple[float, float]:
    """Begin and end of what is there of a segment, in seconds from the first frame.

    Args:
        schedule: the picture's, None without a picture.
        extent: of the whole file.
        start: time of the first frame on the container's clock.

    Raises:
        SegmentError: the video ends before it.
        TruncatedMediaError: the file does, and its header says that the video does not.
    """
    sound_sec = 0.0 if extent.sound_end is None else extent.sound_end - start
    seconds = schedule.timeline.duration if schedule is not None else sound_sec
    (first, last), there = segment.within(extent.announced), segment.within(extent.there)
    part = Extent(announced=last - first, there=there[1] - there[0], sound_end=None)
    check_complete(source, part, what="of the segment ")
    begin, end = segment.within(seconds)
    if end <= begin:
        raise SegmentError(
            f"the segment begins at {segment.begin:g} s, and the video ends at {seconds:.2f} s"
        )
    if segment.end is not None and segment.end > max(seconds, sound_sec) + _ROUNDED_SEC:
        source.warn(
            f"{_PAST_END} {segment.end:g} s, and the video at {seconds:.2f} s: captioned "
            "up to there"
        )
    return begin, end


_PAST_END = "the segment ends at"


def is_past_end(warning: str) -> bool:
    """Whether a warning is that a segment ends behind its video, which a reader may have meant."""
    return warning.startswith(_PAST_END)
