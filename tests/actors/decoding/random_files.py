"""Random video files whose right contents are known: frames carry their number, sound clicks.

Containers, codecs, groups of pictures, clocks, joins, cuts and tracks are drawn by a seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.media import Image, Sound, numbered, render

RATE = 25
"""Frames per second of evenly timed parts."""

CLICK_SEC = 0.03
"""How long a click lasts."""


@dataclass(frozen=True, kw_only=True)
class RandomFile:
    """A file and what is in it.

    Attributes:
        path: where it is.
        times: when each frame is shown, in seconds from the first, by its number.
        clicks: when the clicks of its sound begin, in seconds from the first frame.
        endless: whether it is cut off and nothing in it says how long it was.
        story: how it was made, for the message of a test that fails.
    """

    path: Path
    times: list[float]
    clicks: list[float]
    endless: bool
    story: str


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """A container with the codecs that go into it.

    Attributes:
        codecs, sounds: encoders to choose from.
        joins: whether two such files one behind the other are a file.
        uneven: whether frames may come at any time.
    """

    codecs: tuple[str, ...]
    sounds: tuple[str, ...]
    joins: bool = False
    uneven: bool = True


_KINDS = {
    "mp4": _Kind(codecs=("libx264", "libx265", "mpeg4"), sounds=("aac",)),
    "mov": _Kind(codecs=("libx264", "mpeg4", "mjpeg"), sounds=("aac", "pcm_s16le")),
    "mkv": _Kind(
        codecs=("libx264", "libx265", "mpeg4", "mpeg2video"),
        sounds=("aac", "pcm_s16le", "ac3", "flac"),
    ),
    "webm": _Kind(codecs=("libvpx", "libvpx-vp9"), sounds=("libopus",)),
    "ts": _Kind(codecs=("libx264", "mpeg2video"), sounds=("aac", "mp2", "ac3"), joins=True),
    "mpg": _Kind(codecs=("mpeg2video",), sounds=("mp2",), joins=True, uneven=False),
    "avi": _Kind(codecs=("mpeg4", "libx264"), sounds=("pcm_s16le", "ac3"), uneven=False),
    "flv": _Kind(codecs=("libx264", "flv"), sounds=("aac",)),
}

_ANY_TIME = ("libx264", "libx265", "libvpx", "libvpx-vp9")


def make(seed: int, folder: Path) -> RandomFile:
    """Make a file.

    Args:
        seed: decides all about it.
    """
    chance = random.Random(seed)
    extension = chance.choice(list(_KINDS))
    kind = _KINDS[extension]
    codec, sound = chance.choice(kind.codecs), chance.choice((*kind.sounds, None))
    tracks = chance.choice((1, 1, 2)) if sound is not None else 0
    tracks = min(tracks, 1) if extension == "flv" else tracks
    parts = chance.choice((1, 2, 2, 3)) if kind.joins else 1
    gop, b_frames = chance.choice((5, 12, 25, 250)), chance.choice((0, 0, 1, 2, 3))
    if codec in ("libvpx", "libvpx-vp9", "mjpeg", "flv"):
        b_frames = 0
    refresh = codec == "libx264" and chance.random() < 0.2
    options = _options(codec, b_frames, refresh=refresh, open_gop=chance.random() < 0.3)
    uneven = codec in _ANY_TIME and kind.uneven and chance.random() < 0.3
    data, length = b"", 0.0
    times: list[float] = []
    clicks: list[float] = []
    steps: list[float] = []
    for part in range(parts):
        count = chance.randint(30, 130)
        gaps = [1 / RATE] * count
        if uneven:
            gaps = [round(chance.uniform(0.02, 0.5), 3) for _ in range(count)]
        own = [sum(gaps[:number]) for number in range(count)]
        lasting = own[-1] + 1 / RATE
        # Where in its container's clock the part begins.
        begin = chance.choice((0.0, 0.0, 0.4, 30.0, 600.0)) if kind.joins or part else 0.0
        moments = [
            moment for moment in np.arange(0.5, lasting - 0.2, 0.7).tolist() if moment < lasting
        ]
        bursts = [(moment, moment + CLICK_SEC) for moment in moments]
        first = len(times)
        path = render(
            folder / f"part.{extension}", count=count, rate=RATE, codec=codec, gop=gop,
            b_frames=b_frames, times=[begin + time for time in own] if uneven else None,
            start=begin, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p",
            image=_shifted(first), codec_options=options, width=160,
            sounds=[
                Sound(
                    seconds=lasting, start=begin, codec=sound, rate=48_000,
                    tone=1000.0 + 700 * track, bursts=bursts,
                    default=track == 0 if tracks > 1 else None,
                )
                for track in range(tracks)
                if sound is not None
            ],
        )  # fmt: skip
        data += path.read_bytes()
        times += [length + time for time in own]
        clicks += [length + moment for moment in moments] if tracks else []
        steps.append(begin)
        length += lasting
    cut = chance.choice(("", "", "", "end", "begin", "middle", "noise"))
    if cut == "noise" and (sound == "pcm_s16le" or codec == "mjpeg"):
        cut = ""  # nothing tells noise from sound, or from another picture
    path = folder / f"file.{extension}"
    path.write_bytes(_damaged(data, cut, chance, unit=188 if extension == "ts" else 1))
    story = (
        f"{extension} {codec} {sound} x{tracks} parts at {steps} gop {gop} b {b_frames} {options}"
    )
    story += f" uneven {uneven} cut {cut!r}"
    return RandomFile(
        path=path, times=times, clicks=clicks, endless=kind.joins and cut == "end", story=story
    )


def _shifted(first: int) -> Callable[[int], Image]:
    return lambda number: numbered(first + number, width=160)


def _options(codec: str, b_frames: int, *, refresh: bool, open_gop: bool) -> dict[str, str]:
    if codec == "libx265":
        params = f"log-level=none:bframes={b_frames}:open-gop={int(open_gop)}"
        return {"preset": "ultrafast", "x265-params": params}
    if codec == "libx264":
        params = f"scenecut=0:open-gop={int(open_gop and not refresh)}"
        return {"x264-params": params + ":intra-refresh=1" * refresh}
    return {}


def _damaged(data: bytes, cut: str, chance: random.Random, *, unit: int) -> bytes:
    units = len(data) // unit
    at = int(units * chance.uniform(0.1, 0.9)) * unit
    if cut == "end":
        return data[:at]
    if cut == "begin" and unit > 1:
        return data[at // 2 // unit * unit :]
    if cut == "middle" and unit > 1:
        return data[: at // 2 // unit * unit] + data[at:]
    if cut == "noise":
        noisy = bytearray(data)
        for _ in range(3):
            place = chance.randrange(len(data) // 4, len(data))
            noisy[place : place + 20] = chance.randbytes(min(20, len(data) - place))
        return bytes(noisy)
    return data
