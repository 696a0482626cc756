"""Which packets of a part can stand in a file of their own as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType
from av.video.stream import VideoStream

from actors.decoding.decoder import Part
from actors.decoding.probe import BAD_DATA, Source, drain
from actors.decoding.reading import Ints
from actors.decoding.sample_index import SampleTable
from actors.decoding.schedule import MARGIN_PACKETS
from actors.decoding.streams import crop_of
from schemas.errors import MediaLimitError

_PICTURE = ("h264", "hevc", "av1", "vp9")
_SOUND = ("aac", "mp3", "ac3", "eac3", "flac", "alac")
"""Codecs that MP4 holds and that whoever reads it knows."""

Copies = dict[int, "list[Packet[Any]]"]
"""Packets by the index of their stream."""


def copied_packets(source: Source, part: Part, most_bytes: int) -> Copies:
    """Read the packets of the picture, and of a whole file's sound, that can be copied.

    Returns:
        Nothing for a stream that must be encoded anew.

    Raises:
        MediaLimitError: they are more than ``most_bytes``.
    """
    content = part.content
    has_one_clock = not source.endless and not np.any(content.moves)
    if not has_one_clock or (content.schedule is not None and len(content.schedule.turns)):
        return {}
    # By their numbers: the streams themselves are others once the file was opened again.
    streams: list[int] = []
    if source.video is not None:
        codec = source.video.codec_context.codec.canonical_name
        if codec not in _PICTURE or crop_of(source.container, source.video.index) is not None:
            return {}
        streams.append(source.video.index)
    elif not part.is_whole:
        return {}
    audio = source.audio if part.is_whole else None
    if audio is not None and audio.codec_context.codec.canonical_name in _SOUND:
        streams.append(audio.index)
    if not streams:
        return {}
    for _ in _ways_to(source, part, streams):
        copies = _read(source, part, streams, most_bytes)
        if copies is not None:
            return copies
    return {}


def _ways_to(source: Source, part: Part, streams: list[int]) -> Iterator[None]:
    """Go to where reading may begin: the key frame before, or one more, as an index guesses when
    its key frames are shown.
    """
    tables, schedule = part.content.tables, part.content.schedule
    if tables is None or part.is_whole or schedule is None or source.video is None:
        source.rewind()
        if tables is not None:
            _expect(source, [tables[index] for index in streams], slice(None))
        yield
        return
    table = tables[source.video.index]
    tick = float(source.video.time_base or 0)
    late = part.begin + schedule.rounding + schedule.timeline.tolerance
    near = int(np.searchsorted(schedule.key_times, late, side="right")) - 1
    stop = int(np.searchsorted(table.stamps * tick, part.start + part.end)) + MARGIN_PACKETS
    for first in schedule.keys[max(near - 1, 0) : near + 1][::-1].tolist():
        _expect(source, [table], slice(first, stop))
        if source.seek(float(table.stamps[first]) * tick):
            yield


def _expect(source: Source, tables: list[SampleTable], packets: slice) -> None:
    def together(parts: list[Ints]) -> Ints:
        return np.concatenate(parts)

    source.expect(
        together([table.positions[packets] for table in tables]),
        together([table.sizes[packets] for table in tables]),
    )


def _read(source: Source, part: Part, streams: list[int], most_bytes: int) -> Copies | None:
    """The packets of a part from the container's position on; None where they cannot be copied."""
    copies: Copies = {index: [] for index in streams}
    schedule, video, used = part.content.schedule, source.video, 0
    rounding = 0.0 if schedule is None else schedule.rounding
    until = math.inf if part.is_whole else part.end - rounding
    ended = False
    for packet in source.packets(*(source.container.streams[index] for index in streams)):
        if not packet.size:
            continue
        if packet.pts is None or packet.is_corrupt:
            return None
        kept = copies[packet.stream_index]
        time = float(packet.pts * packet.time_base) - part.start - part.begin
        before = kept[-1].dts if kept else None
        if before is not None and (packet.dts is None or packet.dts <= before):
            return None
        if video is None or packet.stream_index != video.index:
            if packet.is_discard and time >= 0:
                return None  # an edit cuts something out
        else:
            if not kept and time < -rounding:
                continue
            if packet.is_discard or (not kept and (time > rounding or not packet.is_keyframe)):
                return None
            if kept and time <= -rounding:
                return None  # it refers to what was before the part
            if not kept and not _stands_alone(video, packet):
                return None
            if part.begin + time >= until:
                ended = True
                if packet.dts is None or packet.dts * packet.time_base - part.start >= until:
                    break
                continue
            if ended:
                return None  # it refers to what is behind the part
        kept.append(packet)
        used += packet.size
        if used > most_bytes:
            raise MediaLimitError(f"the clip is larger than {most_bytes / 1e6:g} MB")
    return copies if all(map(_timed, copies.values())) else None


def _timed(packets: list[Packet[Any]]) -> bool:
    """Say when the first packets are decoded where FFmpeg does not, as of Matroska, whose frames
    wait for those that are decoded later; False where that cannot be said.
    """
    known = next((at for at, packet in enumerate(packets) if packet.dts is not None), None)
    if known is None:
        return False
    for packet, later in zip(packets[:known][::-1], packets[1 : known + 1][::-1], strict=True):
        assert packet.pts is not None and later.dts is not None
        packet.dts = later.dts - max(1, packet.duration or 0)
        if packet.dts > packet.pts:
            return False
    return True


def _stands_alone(video: VideoStream, packet: Packet[Any]) -> bool:
    """Whether a packet that is marked as a key frame is one."""
    decoder = video.codec_context
    try:
        frames = [frame for each in (packet, drain(video)) for frame in decoder.decode(each)]
    except BAD_DATA:
        return False
    finally:
        decoder.flush_buffers()
    return any(
        not frame.is_corrupt and (frame.key_frame or frame.pict_type == PictureType.I)
        for frame in frames
    )


def moved(packets: Iterable[Packet[Any]], part: Part, stream: Stream) -> Iterator[Packet[Any]]:
    """The packets of a part as those of a stream of another file, in which the part begins at 0."""
    for packet in packets:
        move = round((part.start + part.begin) / packet.time_base)
        assert packet.pts is not None and packet.dts is not None
        last = float(packet.pts * packet.time_base) - part.start
        packet.pts, packet.dts = packet.pts - move, packet.dts - move
        if not part.is_whole and packet.duration:
            # A still goes on behind the end.
            left = round((part.end - last) / packet.time_base)
            packet.duration = max(1, min(packet.duration, left))
        packet.stream = stream
        yield packet
