"""Whole files of many kinds, small, to be damaged: containers, codecs, pictures, sound."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.media import Sound, render

# MXF knows few rates; two seconds, so that there is something to seek.
_FRAMES, _RATE = 50, 25
_SECONDS = _FRAMES / _RATE

_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """How a file is rendered.

    Attributes:
        video, sound: encoders; None for a file without a picture, or without sound.
        muxer: the container, where the extension does not name it.
        width, height: in pixels, where a codec knows few sizes.
        pictures, container: options of the encoder and of the container.
    """

    video: str | None = "libx264"
    sound: str | None = None
    muxer: str | None = None
    pix_fmt: str = "yuv420p"
    b_frames: int = 0
    width: int = 96
    height: int = 64
    pictures: Mapping[str, str] = field(default_factory=dict)
    container: Mapping[str, str] = field(default_factory=dict)


# Its encoder tells the terminal all about itself, through no log of FFmpeg's.
os.environ.setdefault("SVT_LOG", "1")

_X265 = {"preset": "ultrafast", "x265-params": "log-level=none"}

KINDS: Mapping[str, _Kind] = {
    "plain.mp4": _Kind(sound="aac", b_frames=2),
    "first.mp4": _Kind(sound="aac", container={"movflags": "faststart"}),
    "fragmented.mp4": _Kind(sound="aac", container=_FRAGMENTED),
    "hevc.mp4": _Kind(video="libx265", sound="ac3", pictures=_X265),
    "av1.mp4": _Kind(video="libsvtav1", sound="libopus", pictures={"preset": "12"}),
    "mpeg4.mov": _Kind(video="mpeg4", sound="pcm_s16le", b_frames=1),
    "prores.mov": _Kind(video="prores", pix_fmt="yuv422p10le"),
    "animation.mov": _Kind(video="qtrle", pix_fmt="rgb24", sound="alac"),
    "h264.mkv": _Kind(sound="flac", b_frames=2),
    "ffv1.mkv": _Kind(video="ffv1", sound="libmp3lame"),
    "vp8.webm": _Kind(video="libvpx", sound="libopus"),
    "vp9.webm": _Kind(video="libvpx-vp9", sound="libopus"),
    "h264.ts": _Kind(sound="aac", b_frames=1),
    "mpeg2.ts": _Kind(video="mpeg2video", sound="mp2", b_frames=1),
    "mpeg2.mpg": _Kind(video="mpeg2video", sound="mp2"),
    "mpeg4.avi": _Kind(video="mpeg4", sound="libmp3lame", b_frames=1),
    "huffman.avi": _Kind(video="huffyuv", pix_fmt="yuv422p", sound="adpcm_ima_wav"),
    "cinepak.avi": _Kind(video="cinepak", pix_fmt="rgb24", sound="pcm_mulaw"),
    "h264.flv": _Kind(sound="aac"),
    "sorenson.flv": _Kind(video="flv", sound="libmp3lame"),
    "windows.wmv": _Kind(video="wmv2", sound="libmp3lame", muxer="asf"),
    "phone.3gp": _Kind(video="h263", width=176, height=144, sound="aac"),
    "moving.gif": _Kind(video="gif", pix_fmt="rgb8"),
    "moving.webp": _Kind(video="libwebp_anim"),
    "moving.apng": _Kind(video="apng", pix_fmt="rgb24", muxer="apng"),
    "sound.ogg": _Kind(video=None, sound="libopus"),
    "picture.ogv": _Kind(video="libvpx", sound="flac", muxer="ogg"),
    "sound.wav": _Kind(video=None, sound="pcm_s16le"),
    "sound.mp3": _Kind(video=None, sound="libmp3lame"),
    "raw.h264": _Kind(b_frames=1, muxer="h264"),
    "raw.mjpeg": _Kind(video="mjpeg", pix_fmt="yuvj420p", muxer="mjpeg"),
    "nested.mxf": _Kind(video="mpeg2video", sound="pcm_s16le", muxer="mxf"),
}
"""Name of a file -> what is in it."""


def corpus(folder: Path) -> dict[str, bytes]:
    """Render all kinds below ``folder``; name -> bytes, the same each time."""
    return {name: _rendered(folder / name, kind).read_bytes() for name, kind in KINDS.items()}


def _rendered(path: Path, kind: _Kind) -> Path:
    sounds = []
    if kind.sound is not None:
        rate = 48_000 if kind.sound in ("libopus", "pcm_s16le") else 44_100
        sounds = [Sound(seconds=_SECONDS, codec=kind.sound, rate=rate)]
    return render(
        path, count=_FRAMES, rate=_RATE, width=kind.width, height=kind.height, codec=kind.video,
        pix_fmt=kind.pix_fmt, gop=8, b_frames=kind.b_frames, sounds=sounds,
        codec_options=kind.pictures, container_format=kind.muxer,
        # Without the names and numbers that muxers draw anew each time.
        container_options={"fflags": "+bitexact", **kind.container},
    )  # fmt: skip
