"""Which of a container's streams are the film, and what FFmpeg tells of them beside PyAV."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

FILM_SHARE = 100
"""A stream with so many times fewer pictures than another one is its cover or its preview."""


class Crop(NamedTuple):
    """Pixels at the edges of a picture that are not shown."""

    left: int
    right: int
    top: int
    bottom: int


def codec_name(container: InputContainer, index: int) -> str:
    """Return what FFmpeg prints of a stream without a decoder, such as ``XYZ1 / 0x315A5958``."""
    for line in dump(container).splitlines():
        found = re.search(rf"Stream #0:{index}\b.*?(?:Video|Audio): (.*)", line)
        if found:
            text = found.group(1)
            tag = re.search(r"\((\S{1,16}) / 0x([0-9A-Fa-f]+)\)", text)
            name = text.split(",")[0].split(" ")[0]
            if tag:
                fourcc = f"'{tag.group(1)}' (0x{tag.group(2)})"
                return fourcc if name == "none" else f"{name}, {fourcc}"
            return name
    return "unknown"


def dump(container: InputContainer) -> str:
    """Return FFmpeg's description of a container, which tells what PyAV does not."""
    av.logging.set_level(av.logging.INFO)  # the level of what dumps_format captures
    try:
        return str(container.dumps_format())  # type: ignore[attr-defined]  # not in the stub
    finally:
        av.logging.set_level(av.logging.ERROR)


def _programs(container: InputContainer) -> list[set[int]]:
    """Return the indices of each program's streams; none where the container has no programs."""
    programs: list[set[int]] = []
    for line in dump(container).splitlines():
        if re.match(r"  (No )?Program\b", line):
            programs.append(set())
        elif (found := re.match(r"  Stream #0:(\d+)", line)) and programs:
            programs[-1].add(int(found.group(1)))
    return programs


def crop_of(container: InputContainer, index: int) -> Crop | None:
    """Return what a container has cut off a stream's pictures, such as Matroska's PixelCrop."""
    described = dump(container).partition(f"  Stream #0:{index}")[2].partition("\n  Stream #")[0]
    found = re.search(r"(?m)^      Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)$", described)
    if found is None:
        return None
    left, right, top, bottom = map(int, found.groups())
    return Crop(left=left, right=right, top=top, bottom=bottom)


def choose_video(
    container: InputContainer, counts: Mapping[int, int] | None = None
) -> VideoStream | None:
    """Return the picture: the default one, else the largest, but no cover and no preview.

    Args:
        counts: how many pictures each stream has, by its index; by default as the header says.
    """
    stills = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    candidates = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & stills
    ]
    if counts is None:
        counts = {stream.index: stream.frames for stream in candidates}
    most = max((counts[stream.index] for stream in candidates), default=0)
    return max(
        (each for each in candidates if not 0 < counts[each.index] * FILM_SHARE < most),
        key=lambda stream: (
            bool(stream.disposition & Disposition.default),
            stream.width * stream.height,
        ),
        default=None,
    )


def choose_audio(container: InputContainer, video: VideoStream | None) -> AudioStream | None:
    """Return the sound of the picture's program: the default one, else the first that decodes."""
    candidates = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if video is not None:
        programs = [each for each in _programs(container) if video.index in each]
        candidates = [
            each
            for each in candidates
            if not programs or any(each.index in program for program in programs)
        ]
    return max(
        candidates,
        key=lambda stream: bool(stream.disposition & Disposition.default),
        default=None,
    )
