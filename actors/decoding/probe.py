"""Opening a container and choosing the streams to decode."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NoReturn, TypeVar, cast

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from actors.decoding.reading import Ints, ReadingCosts
from actors.decoding.streams import choose_audio, choose_video, codec_name, dump
from actors.storage.range_reader import RangeReader
from schemas.errors import (
    MediaLimitError,
    NoMediaStreamError,
    NotAVideoError,
    UnsupportedCodecError,
)
from schemas.media import LONGEST_WARNING, MOST_WARNINGS, DecodeLimits

AnyStream = TypeVar("AnyStream", VideoStream, AudioStream)

BUFFER_BYTES = 32 << 10
"""FFmpeg's own read size; requests to the storage are the reader's business."""

_REFUSED = {
    # These read other files or the network, or a device.
    "concat", "concatf", "dash", "hls", "imf", "image2", "image2pipe", "rtp", "rtsp", "sap",
    "sdp", "webm_dash_manifest", "alsa", "fbdev", "kmsgrab", "lavfi", "oss", "v4l2",
    "video4linux2,v4l2", "x11grab", "xcbgrab",
    # These take any text for a picture.
    "tty", "bin", "xbin", "adf", "idf",
}  # fmt: skip
_FORMATS = ",".join(sorted(av.formats_available - _REFUSED))

BAD_DATA: tuple[type[av.error.FFmpegError], ...] = tuple(
    kind
    for kind in av.error.FFmpegError.__subclasses__()
    if kind not in (av.error.MemoryError, av.error.PyAVCallbackError)
)
"""FFmpeg's errors that speak of the data. Running out of memory does not, nor does an error
inside a reader."""

_ENDLESS = ("mpegts", "mpeg")
"""Containers for recordings without end: their clocks may begin again anywhere, and FFmpeg makes
their length up from the first stamp and the last."""

_UNREADABLE: tuple[type[av.error.FFmpegError], ...] = (*BAD_DATA, av.error.MemoryError)
"""While packets are read: a damaged index may well announce one of gigabytes."""

# PyAV keeps FFmpeg's last error line only above level None; see Source.last_log. Without a handler
# Python would print every line.
av.logging.set_level(av.logging.ERROR)
logging.getLogger("libav").addHandler(logging.NullHandler())


@dataclass(kw_only=True)
class Source:
    """An open container and the streams chosen from it.

    Attributes:
        container: FFmpeg's demuxer over ``reader``.
        reader: the file.
        limits: what the file may cost.
        costs: of reading it.
        video, audio: the streams to decode, or None.
        warnings: what was noticed so far, one sentence each.
        cut: whether the index names bytes beyond the end of the file.
        errors_before: how many error lines FFmpeg had written before :meth:`last_log` counts.
    """

    container: InputContainer
    reader: RangeReader
    limits: DecodeLimits
    costs: ReadingCosts
    video: VideoStream | None
    audio: AudioStream | None
    warnings: list[str] = field(default_factory=list)
    cut: bool = False
    errors_before: int = 0

    @property
    def endless(self) -> bool:
        """Whether the container is one for recordings without end, whose clock may jump."""
        return self.container.format.name in _ENDLESS

    @property
    def reorders(self) -> bool:
        """Whether the picture's frames are shown in another order than they are stored in."""
        return self.video is not None and self.video.codec_context.has_b_frames

    @property
    def has_decoding_times_only(self) -> bool:
        """Whether the container tells when a frame is decoded, and not when it is shown."""
        return self.container.format.name == "avi"

    def last_log(self) -> str:
        """Return FFmpeg's last error line about this file, "" if there is none."""
        return _last_log(self.errors_before)

    def forget_log(self) -> None:
        """Let later calls of :meth:`last_log` tell of what comes from now on."""
        self.errors_before = av.logging.get_last_error()[0]

    def take_film(self, counts: Mapping[int, int]) -> None:
        """Take another stream as the picture where the one chosen is its cover or preview.

        Args:
            counts: how many packets each stream has, by its index.
        """
        if self.video is not None:
            self.video = choose_video(self.container, counts)

    def note_late_streams(self) -> None:
        """Warn of streams that began behind the header: PyAV hands out none of their packets."""
        late = len(re.findall(r"(?m)^  Stream #0:", dump(self.container)))
        if late > len(self.container.streams):
            self.warn("streams that begin in the middle of the file were left out")

    def warn(self, sentence: str) -> None:
        """Note what was wrong but could be worked around, once; the first few dozen things."""
        sentence = sentence[:LONGEST_WARNING]
        if sentence not in self.warnings and len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(sentence)

    def packets(self, *streams: Stream) -> Iterator[Packet[Any]]:
        """Yield the packets of some streams from the current position to the end.

        The demuxer skips all other streams. Where the data ends early or is damaged beyond
        the demuxer's help, the packets end there, with a warning. The last packet of each
        stream is empty and drains its decoder.
        """
        for stream in self.container.streams:
            stream.discard = Discard.default if stream in streams else Discard.all
        iterator = self.container.demux(*streams)
        while True:
            try:
                packet = next(iterator)
            except (StopIteration, IndexError):
                # PyAV fails on streams that appeared behind the header, once all is read.
                return
            except _UNREADABLE as error:
                self.warn(f"the file cannot be read to its end: {_plain(error)}")
                return
            if packet.is_corrupt:
                self.warn("packets are damaged, or missing between others")
            yield packet

    def seek(self, seconds: float, stream: Stream | None = None) -> bool:
        """Go to a stream's last key frame that is not later; False where that fails.

        Args:
            seconds: on the container's clock.
            stream: by default the picture.
        """
        stream = stream or self.video
        assert stream is not None and stream.time_base is not None
        try:
            self.container.seek(math.floor(seconds / stream.time_base), stream=stream)
        except BAD_DATA:
            return False
        return True

    def expect(self, positions: Ints, sizes: Ints) -> None:
        """Announce which packets will be read next, by where they are in the file."""
        self.reader.expect(self.costs.spans(positions, sizes))

    def rewind(self) -> None:
        """Go back to the file's start.

        By opening the file again: seeking to the start misses packets without a timestamp,
        and fails altogether where the index is damaged. The reader still has the bytes.
        """
        # Streams must not be touched once their container is closed: FFmpeg has freed them.
        video = self.video.index if self.video is not None else None
        audio = self.audio.index if self.audio is not None else None
        self.container.close()
        self.reader.expect([])
        self.reader.seek(0)
        self.container = _open(self.reader, self.limits)
        streams = self.container.streams
        self.video = cast("VideoStream", streams[video]) if video is not None else None
        self.audio = cast("AudioStream", streams[audio]) if audio is not None else None


def drain(stream: AnyStream) -> Packet[AnyStream]:
    """Return the empty packet that makes a decoder hand out the frames it holds back."""
    packet = cast("Packet[AnyStream]", Packet())
    if stream.time_base is not None:
        packet.time_base = stream.time_base
    return packet


def _last_log(before: int) -> str:
    """Return FFmpeg's last error line in this process unless it is one of the first so many."""
    count, line = av.logging.get_last_error()
    return " ".join(str(line[2]).split()) if count > before and line else ""


def open_source(reader: RangeReader, limits: DecodeLimits, costs: ReadingCosts) -> Source:
    """Open a container, choose its streams and check it against the limits.

    Raises:
        NotAVideoError: no known container, or its header is broken.
        NoMediaStreamError: neither picture nor sound.
        UnsupportedCodecError: no decoder for the picture, or for the only sound.
        MediaLimitError: larger or longer than allowed, by the header.
    """
    before = av.logging.get_last_error()[0]
    container = _open(reader, limits)
    video = choose_video(container)
    audio = choose_audio(container, video)
    source = Source(
        container=container,
        reader=reader,
        limits=limits,
        costs=costs,
        video=video,
        audio=audio,
        errors_before=before,
    )
    if audio is None and any(each.codec_context is not None for each in container.streams.audio):
        source.warn("the only sound belongs to another program than the picture")
    undecodable = [stream for stream in container.streams if stream.codec_context is None]
    for stream in undecodable:
        if stream.disposition & Disposition.attached_pic:
            continue
        name = codec_name(container, stream.index)
        if stream.type == "video" and video is None:
            raise UnsupportedCodecError(f"no decoder for the picture's codec {name}")
        if stream.type == "audio" and audio is None:
            message = f"no decoder for the sound's codec {name}"
            if video is None:
                raise UnsupportedCodecError(message)
            source.warn(message)
    if video is None and audio is None:
        raise NoMediaStreamError("the container holds neither picture nor sound")
    _check_limits(source, limits)
    return source


def _open(reader: RangeReader, limits: DecodeLimits) -> InputContainer:
    before = av.logging.get_last_error()[0]
    try:
        return av.open(
            reader,
            mode="r",
            buffer_size=BUFFER_BYTES,
            metadata_errors="replace",
            options={
                "max_pixels": str(min(limits.max_frame_pixels, 2**31 - 1)),
                "format_whitelist": _FORMATS,
                "protocol_whitelist": "none",
            },
            io_open=_refuse_other_files,
        )
    except BAD_DATA as error:
        reason = _last_log(before) or _plain(error)
        if "whitelist" in reason:
            reason = "it is a playlist or a text"
        raise NotAVideoError(f"not a media file, or its header is broken: {reason}") from None


def _refuse_other_files(url: str, _flags: int, _options: dict[str, str]) -> NoReturn:
    """Refuse to open what a playlist names: a video must not read other files."""
    raise NotAVideoError(f"the file refers to another file, {url[:100]!r}, which is not opened")


def _plain(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror or error or type(error).__name__)


def _check_limits(source: Source, limits: DecodeLimits) -> None:
    video = source.video
    if video is not None and video.width * video.height > limits.max_frame_pixels:
        raise MediaLimitError(
            f"the picture is {video.width}x{video.height}, "
            f"more than {limits.max_frame_pixels} pixels"
        )
    duration = header_duration(source)
    if duration > limits.max_duration_sec:
        raise MediaLimitError(
            f"{duration:.0f} s long by its header, more than {limits.max_duration_sec:.0f} s"
        )


def header_duration(source: Source) -> float:
    """Return the length by the container's header in seconds, 0.0 if it does not say."""
    if source.endless:
        return 0.0
    lengths = [(source.container.duration or 0) / av.time_base]
    for stream in (source.video, source.audio):
        if stream is not None and stream.duration is not None and stream.time_base:
            lengths.append(float(stream.duration * stream.time_base))
    return max(lengths)


def stream_length(source: Source, stream: Stream | None) -> float:
    """Return the length of a stream by the header in seconds, the file's if it does not say; 0
    where there is no header to say it.
    """
    if stream is None or source.endless:
        return 0.0
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (source.container.duration or 0) / av.time_base


def header_start(source: Source) -> float:
    """Return the first moment of the picture, or else of the sound, on the container's clock."""
    stream = source.video or source.audio
    if stream is None or stream.start_time is None or stream.time_base is None:
        return 0.0
    return float(stream.start_time * stream.time_base)


def frame_rate(video: VideoStream) -> float:
    """Return the average frames per second by the header, 25.0 if it does not say."""
    for rate in (video.average_rate, video.guessed_rate, video.base_rate):
        if rate is not None and Fraction(0) < rate <= 1000:
            return float(rate)
    return 25.0
