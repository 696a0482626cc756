"""Cutting a part of a video out as MP4: what can be copied is copied, the rest is encoded anew."""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterator
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet

from actors.clipping.copying import copied_packets, moved
from actors.clipping.encoding import SoundEncoder, encode_picture
from actors.decoding.decoder import Part, VideoFile
from schemas.errors import CorruptMediaError, MediaLimitError
from schemas.media import Segment


def cut(file: VideoFile, segment: Segment, most_bytes: int) -> bytes:
    """Cut a segment, or all of a file, out as an MP4 file that begins at time 0.

    The picture's packets are copied where the first frame is a key frame, the codec is one that MP4
    holds, and nothing from behind the end is needed; else all frames that are shown in the segment
    are encoded anew (H.264), upright and with square pixels. The sound of a whole file is copied
    with its picture; elsewhere exactly what is heard in the segment is encoded anew (AAC).

    Args:
        file: of which only these streams are taken that a model is shown.
        segment: of it.
        most_bytes: of the result.

    Returns:
        The bytes of the file.

    Raises:
        MediaLimitError: it takes more than ``most_bytes``, or too much memory on the way.
        VideoError: as :meth:`actors.decoding.decoder.VideoFile.decode`.
    """
    target = _Target(most_bytes)
    with file.errors_told():
        part = file.locate(segment)
        with av.open(target, "w", format="mp4") as output:
            for packet in heapq.merge(*_tracks(file, part, output, most_bytes), key=_moment):
                output.mux(packet)
                target.check()
        target.check()
    return target.getvalue()


def _tracks(
    file: VideoFile, part: Part, output: OutputContainer, most_bytes: int
) -> list[Iterator[Packet[Any]]]:
    """The packets of picture and sound, in order of their decoding, of streams of ``output``."""
    source = file.source
    copied = copied_packets(source, part, most_bytes)
    sound = None
    if source.audio is not None and source.audio.index not in copied:
        # Before the picture, as both are read from the same container.
        sound = SoundEncoder.of(source, part)
    tracks = [
        moved(packets, part, output.add_stream_from_template(stream, opaque=True))
        for stream in (source.video, source.audio)
        if stream is not None and (packets := copied.get(stream.index)) is not None
    ]
    if source.video is not None and source.video.index not in copied:
        tracks.append(encode_picture(source, part, output))
    if sound is not None:
        tracks.append(sound.encode(output))
    if not tracks:
        raise CorruptMediaError("nothing of it can be decoded")
    output.start_encoding()
    return tracks


def _moment(packet: Packet[Any]) -> float:
    return float((packet.dts or 0) * packet.time_base)


class _Target(io.BytesIO):
    """The file that is written, of so many bytes at most."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most_bytes = most_bytes
        self._is_full = False

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._most_bytes:
            self._is_full = True
        return len(data) if self._is_full else super().write(data)

    def check(self) -> None:
        """Raise MediaLimitError where not all had room."""
        if self._is_full:
            raise MediaLimitError(f"the clip is larger than {self._most_bytes / 1e6:g} MB")
