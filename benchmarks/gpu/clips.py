"""Clips that differ, so that no cache of the engine meets the same picture or sound twice."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np

_SECONDS, _FPS, _SOUND_RATE = 30, 12, 16_000
_WIDTH, _HEIGHT = 854, 480


def render(folder: Path, count: int) -> None:
    """Write ``count`` clips of half a minute in H.264 and AAC, on all cores."""
    folder.mkdir(parents=True)
    with get_context("spawn").Pool() as pool:
        pool.starmap(_write, [(folder / f"{number:05}.mp4", number) for number in range(count)])


def _write(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (_HEIGHT // 32 + 1, _WIDTH // 32 + 1, 3), np.uint8)
    picture = coarse.repeat(32, 0).repeat(32, 1)[:_HEIGHT, :_WIDTH]
    steps = np.arange(_SECONDS * _SOUND_RATE) / _SOUND_RATE
    tone = (8000 * np.sin(2 * np.pi * random.uniform(100, 3000) * steps)).astype(np.int16)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", _FPS, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        video.thread_count = 1
        sound = container.add_stream("aac", _SOUND_RATE, layout="mono")
        for number in range(_SECONDS * _FPS):
            moved = np.roll(picture, 4 * number, axis=1)
            container.mux(video.encode(av.VideoFrame.from_ndarray(moved)))
        container.mux(video.encode())
        frame = av.AudioFrame.from_ndarray(tone[None], layout="mono")
        frame.sample_rate = _SOUND_RATE
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
