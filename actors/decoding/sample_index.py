"""What an MP4's index says about a file, before any of its pictures and sound is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from av.stream import Stream
from av.video.stream import VideoStream

from actors.decoding.edits import check_shown
from actors.decoding.extent import Extent, index_is_cut
from actors.decoding.probe import Source, frame_rate
from actors.decoding.reading import Ints
from actors.decoding.sampling import Timeline
from actors.decoding.schedule import Schedule

COMPLETE_SHARE = 0.8
"""An index that covers this share of the file's bytes covers all of it: the rest is the index
itself and padding. A fragmented MP4, whose index comes in pieces, covers a small share."""


@dataclass(frozen=True, kw_only=True)
class SampleTable:
    """The packets of one stream, in decoding order, as far as the file holds their bytes.

    Attributes:
        stamps: decoding times in the stream's time base, int64, shape (P,).
        positions, sizes: where their bytes are, int64, shape (P,).
        keys: whether decoding can begin there, bool, shape (P,).
        hidden: whether an edit list hides them, bool, shape (P,).
        length: seconds that the stream lasts by the index.
        there: seconds of it whose packets the file holds; ``length`` where none is missing.
    """

    stamps: Ints
    positions: Ints
    sizes: Ints
    keys: npt.NDArray[np.bool_]
    hidden: npt.NDArray[np.bool_]
    length: float
    there: float


def read_tables(source: Source) -> dict[int, SampleTable] | None:
    """Read the index of an MP4 or MOV file.

    Returns:
        One table per stream index, or None where there is no index that covers the file.
    """
    if not source.container.format.name.startswith("mov"):
        return None
    tables = {
        stream.index: _read_table(stream, source.reader.size) for stream in source.container.streams
    }
    if any(table.there < table.length for table in tables.values()):
        source.cut = True
        source.warn("the file is cut off; what is there was decoded")
    if index_is_cut(source.reader):
        source.warn("the file's index is cut off; what it still tells of was decoded")
    covered = sum(int(table.sizes.sum()) for table in tables.values())
    wanted = [stream for stream in (source.video, source.audio) if stream is not None]
    if covered < COMPLETE_SHARE * source.reader.size:
        return None
    if any(len(tables[stream.index].stamps) == 0 for stream in wanted):
        return None
    return tables


def _read_table(stream: Stream, file_size: int) -> SampleTable:
    rows = np.array(
        [
            (entry.timestamp, entry.pos, entry.size, entry.is_keyframe, entry.is_discard)
            for entry in stream.index_entries
        ],
        dtype=np.int64,
    ).reshape(-1, 5)
    there = rows[:, 1] + rows[:, 2] <= file_size
    # What follows the first missing packet cannot be decoded either.
    count = len(rows) if there.all() else int(np.argmin(there))
    shown = rows[rows[:, 4] == 0, 0]
    span = int(shown[-1] - shown[0]) if len(shown) else 0
    length = stream.duration or span
    # With frames stored in another order than shown, decoding times may span more than that.
    share = 1.0
    if count < len(rows) and len(shown):
        share = float(np.clip((rows[count, 0] - shown[0]) / max(length, span + 1), 0, 1))
    seconds = length * float(stream.time_base or 0)
    rows = rows[:count]
    return SampleTable(
        stamps=rows[:, 0],
        positions=rows[:, 1],
        sizes=rows[:, 2],
        keys=rows[:, 3].astype(bool),
        hidden=rows[:, 4].astype(bool),
        length=seconds,
        there=share * seconds,
    )


def extent_of(source: Source, tables: dict[int, SampleTable], *, sound: bool) -> Extent:
    """How far an indexed file goes.

    Args:
        tables: of the streams, from :func:`read_tables`.
        sound: whether the sound is wanted. Of the wanted streams the one counts that lacks most.
    """
    audio = source.audio
    wanted = [source.video, audio if sound else None]
    found = [tables[stream.index] for stream in wanted if stream is not None]
    lacking = max(found, key=lambda table: 1 - table.there / table.length if table.length else 0)
    sound_end = None
    if audio is not None:
        begin = (audio.start_time or 0) * float(audio.time_base or 0)
        sound_end = begin + tables[audio.index].there
    return Extent(announced=lacking.length, there=lacking.there, sound_end=sound_end)


def schedule_from(source: Source, video: VideoStream, table: SampleTable) -> Schedule | None:
    """Work out a video's schedule from its index, which holds decoding times only.

    Returns:
        None where the decoding times do not increase.
    """
    shown = table.stamps[~table.hidden]
    steps = np.diff(table.stamps)
    if len(shown) == 0 or video.start_time is None or video.time_base is None:
        return None
    if len(steps) and steps.min() <= 0:
        return None
    tick = float(video.time_base)
    start = video.start_time * tick
    # A frame is never shown before it is decoded.
    times = table.stamps.astype(np.float64) * tick
    keys = np.flatnonzero(table.keys)
    even = len(steps) == 0 or steps.max() - steps.min() <= 1
    step = float(steps.mean()) * tick if len(steps) else 1.0 / frame_rate(video)
    last = (len(shown) - 1) * step
    # A few frames may be decoded evenly and yet be shown at any time.
    if not even or last > table.length > 0:
        last = _last_shown(source, video, table) - start
        step = last / (len(shown) - 1) if len(shown) > 1 else 1.0 / frame_rate(video)
    if last < 0 or step <= 0:
        return None
    # Where frames are stored in another order than shown, the index may end before the last.
    duration = table.there if table.there > last else last + step
    check_shown(source, len(shown))
    # Key frames are shown a fixed time after they are decoded, or almost; where the guess is
    # wrong, the seek lands late and is repeated.
    delay = start - float(shown[0]) * tick
    return Schedule(
        timeline=Timeline(
            last=last, duration=duration, count=len(shown), rate=1.0 / step, tick=tick
        ),
        start=start,
        shown_from=times - start,
        keys=keys,
        key_times=times[keys] + delay - start,
        positions=table.positions,
        sizes=table.sizes,
    )


def _last_shown(source: Source, video: VideoStream, table: SampleTable) -> float:
    """Return when the last frame is shown, on the container's clock, from its last group.

    That group is read in any case: the last moment of a plan is in it.
    """
    assert video.time_base is not None
    keys = np.flatnonzero(table.keys)
    first = int(keys[-1]) if len(keys) else 0
    source.expect(table.positions[first:], table.sizes[first:])
    if not source.seek(float(table.stamps[first] * video.time_base)):
        return -1.0
    stamps = [
        packet.pts
        for packet in source.packets(video)
        if packet.pts is not None and packet.size and not packet.is_discard
    ]
    return float(max(stamps, default=-1) * video.time_base)
