"""What the decoder hands to a recipe: sampled frames, their times, and sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from schemas.frame_pack import FramePack
from schemas.settings import LISTED, Flag, Settings, Unset

MOST_WARNINGS, LONGEST_WARNING = 32, 256
"""Sentences about one file, which may be damaged everywhere, and characters of one."""


_SOUND_SEC = 30
"""Sound of a clip whose size is asked for."""


class SamplingPlan(Settings):
    """What to extract from a video: all that the decoder needs to know of a recipe.

    Exactly one of ``num_frames`` and ``fps`` is set.
    """

    num_frames: NonNegativeInt | None = None
    """Frames, evenly over the clip; 0 for the sound alone."""
    fps: PositiveFloat | None = None
    """Frames per second of video."""
    include_last: bool = True
    """num_frames ends with the last frame; otherwise frame i of n is at i/n of the way there, as
    SkyCaptioner samples."""
    change: Annotated[PositiveFloat | None, Unset("fps alone")] = None
    """Mean difference of two sampled frames, of 255, above which every frame between them is taken
    too. All frames then bear their own times. Only with fps, and not in recipes."""
    max_pixels: int = Field(default=100_352, ge=784)
    """Largest width x height of a frame, in pixels."""
    stretch_to: tuple[int, int] | None = None
    """Width and height that every frame is stretched to, instead of max_pixels with the shape
    kept."""
    compress: bool = False
    """Frames travel as JPEG and are unpacked where they are used: for videos of thousands of
    frames."""
    audio_rate: Annotated[int | None, Unset("no sound")] = Field(default=None, ge=8_000, le=48_000)
    """Sample rate of the sound, in Hz."""

    def model_post_init(self, _context: object) -> None:
        """Check that the plan says how to sample, once."""
        if (self.num_frames is None) == (self.fps is None):
            raise ValueError("a sampling plan sets exactly one of num_frames and fps")
        if self.change is not None and self.fps is None:
            raise ValueError("change goes with fps")
        if self.num_frames == 0 and self.audio_rate is None:
            raise ValueError("a sampling plan without frames takes the sound: set audio_rate")
        if self.stretch_to is not None and min(self.stretch_to) < 28:
            raise ValueError("stretch_to: each side has at least 28 pixels")

    def clip_bytes(self) -> int | None:
        """Size of a decoded clip with half a minute of sound; None where the length of a video
        decides how many frames there are.
        """
        if self.num_frames is None:
            return None
        width, height = self.stretch_to or (self.max_pixels, 1)
        return 3 * self.num_frames * width * height + 4 * _SOUND_SEC * (self.audio_rate or 0)


@dataclass(frozen=True)
class Segment:
    """A span of a video, in seconds from its first frame.

    Attributes:
        begin: at least 0.
        end: after ``begin``; None where it goes on to the end of the video.
    """

    begin: float
    end: float | None = None

    def within(self, seconds: float) -> tuple[float, float]:
        """Begin and end of what lies in a video of so many seconds; nothing does where both are
        the same.
        """
        begin = min(self.begin, seconds)
        return begin, max(begin, seconds if self.end is None else min(self.end, seconds))


WHOLE = Segment(0.0)
"""All of a video."""


class DecodeLimits(Settings):
    """What one video may cost. Past a limit the video is one row in ``failures``."""

    wall_seconds: PositiveFloat = 300.0
    """Wall time per video, in seconds."""
    memory_mb: int = Field(default=1400, ge=256)
    """Resident memory of the decoding process, in MB."""
    max_frame_pixels: int = Field(default=8192 * 4320, ge=784)
    """Largest coded width x height, in pixels."""
    max_duration_sec: PositiveFloat = 4 * 3600.0
    """Longest video, in seconds."""
    min_complete: float = Field(default=0.95, ge=0, le=1)
    """Smallest share of the announced duration that must be there."""


class StorageOptions(Settings):
    """How to reach the storage. Credentials come by the standard AWS chain, never from here."""

    endpoint_url: Annotated[str | None, Flag("--endpoint-url", metavar="URL")] = None
    """S3 endpoint other than AWS."""
    region: Annotated[str | None, Unset("as the AWS chain says")] = Field(
        default=None, pattern=r"^[A-Za-z0-9-]+$"
    )
    """Region of the S3 endpoint."""
    anonymous: bool = False
    """Send unsigned requests."""
    retries: NonNegativeInt = 8
    """Tries after the first, per request."""
    timeout_sec: PositiveFloat = 30.0
    """Wall time of one request, in seconds."""
    whole_file_mb: PositiveInt = 256
    """Largest file that is read whole, into memory, from a web server that sends no ranges; in
    10^6 bytes."""
    places: Annotated[tuple[str, ...], LISTED] = ()
    """Where manifests may name videos beside S3, public web servers and the inputs' own folders:
    folders, web servers such as http://10.0.0.7:8080, schemes such as gs://."""
    usd_per_1000_requests: NonNegativeFloat = 0.0004
    """Price of 1,000 reading requests (S3: GET)."""
    usd_per_gb: NonNegativeFloat = 0.0
    """Price of moving 10^9 bytes to here; nothing inside a region of S3."""
    usd_per_cpu_hour: NonNegativeFloat = 0.04
    """Price of a CPU, which waits while its actor reads."""

    @field_validator("places")
    @classmethod
    def _are_places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for place in value:
            if not place.startswith("/") and "://" not in place:
                raise ValueError("write folders as absolute paths, all else as SCHEME://")
        return value

    @field_validator("endpoint_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write it as http://HOST:PORT or https://HOST")
        if "@" in parts.netloc:
            raise ValueError("holds credentials; they come by the standard AWS chain")
        return value


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Facts about a video file, or a segment of one.

    Attributes:
        duration_sec: length in seconds (of the longest decoded stream), or of the segment.
        fps: average frame rate of the picture, 0.0 without one.
        width, height: displayed size in pixels (after rotation), 0 without a picture.
        has_video, has_audio: which decodable streams there are.
        container, video_codec, audio_codec: FFmpeg's short names, "" where absent.
        rotation: degrees clockwise that were applied to show the picture upright.
        requests, bytes_read: what the storage was asked for.
        bytes_stored: size of the file.
        window_sec: length of the parts to show it in, where it does not fit the model whole.
    """

    duration_sec: float
    fps: float
    width: int
    height: int
    has_video: bool
    has_audio: bool
    container: str = ""
    video_codec: str = ""
    audio_codec: str = ""
    rotation: int = 0
    requests: int = 0
    bytes_read: int = 0
    bytes_stored: int = 0
    window_sec: float | None = None


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What one request shows of a video.

    Attributes:
        duration_sec: how long the part is that it is taken from.
        frames: uint8 RGB, shape (T, H, W, 3); T is 0 where there is only sound.
        timestamps: float64, shape (T,), the moment of each frame in seconds from the start of
            the part, increasing; equal where a frame is shown twice.
        audio: float32 mono in [-1, 1], shape (N,), or None without sound.
        audio_rate: samples per second of ``audio``, 0 without sound.
    """

    duration_sec: float
    frames: npt.NDArray[np.uint8]
    timestamps: npt.NDArray[np.float64]
    audio: npt.NDArray[np.float32] | None = None
    audio_rate: int = 0

    @property
    def num_frames(self) -> int:
        """How many frames are shown."""
        return len(self.timestamps)

    @property
    def sampled_fps(self) -> float:
        """Frames per second of video among the frames (1.0 for a single frame)."""
        if len(self.timestamps) < 2:
            return 1.0
        span = float(self.timestamps[-1] - self.timestamps[0])
        return (len(self.timestamps) - 1) / span if span > 0 else 1.0


@dataclass(frozen=True, kw_only=True)
class DecodedVideo:
    """A video or a segment of one, sampled as a :class:`SamplingPlan` says.

    Attributes:
        info: facts about the file.
        frames: uint8 RGB, shape (T, H, W, 3); T is 0 for a file without a picture, and where
            ``pack`` holds the frames instead.
        pack: the T frames compressed, where the plan asks for it.
        timestamps: float64, shape (T,), the moment that each frame was picked for, in seconds
            from the start of the video or segment, increasing; the frames' own times where all
            of a video were picked.
        audio: float32 mono in [-1, 1], shape (N,), or None without sound.
        audio_rate: samples per second of ``audio``, 0 without sound.
        warnings: what was wrong but could be worked around, one sentence each; at most
            ``MOST_WARNINGS`` of up to ``LONGEST_WARNING`` characters.
    """

    info: VideoInfo
    frames: npt.NDArray[np.uint8]
    timestamps: npt.NDArray[np.float64]
    audio: npt.NDArray[np.float32] | None = None
    audio_rate: int = 0
    warnings: tuple[str, ...] = ()
    pack: FramePack | None = None

    @property
    def num_frames(self) -> int:
        """How many frames were sampled."""
        return len(self.timestamps)

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """Some of the frames, unpacked: uint8 RGB, shape (n, H, W, 3)."""
        return self.frames[indices] if self.pack is None else self.pack.images(indices)

    def whole(self) -> Clip:
        """All of it as one clip."""
        return Clip(
            duration_sec=self.info.duration_sec,
            frames=self.frames if self.pack is None else self.pack.images(range(len(self.pack))),
            timestamps=self.timestamps,
            audio=self.audio,
            audio_rate=self.audio_rate,
        )
