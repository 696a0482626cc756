"""Stages that do nothing: what is left is the control plane of a run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from actors.engine.stats import EngineStats
from actors.stages import Captioner, Decoder
from schemas.blocks import video_row
from schemas.media import DecodedVideo, VideoInfo
from schemas.recipe import Answer, Request

ANSWER_SEC = 0.5

_INFO = VideoInfo(duration_sec=10.0, fps=25.0, width=64, height=64, has_video=True, has_audio=False)
_TEXT = (
    "A small red circle moves slowly to the left across a green background while a low tone "
    "sounds. Then a person walks into the picture, sits down at the table, opens a book and "
    "begins to read from its first page in a calm voice. "
) * 9
"""Two kilobytes, as a detailed caption has."""


class NullDecoder(Decoder):
    """Four black frames of each input, which is never opened."""

    def _attempt(self, row: dict[str, Any]) -> pa.RecordBatch:
        return video_row(
            DecodedVideo(
                info=_INFO,
                frames=np.zeros((4, 16, 16, 3), np.uint8),
                timestamps=np.arange(4, dtype=np.float64),
                audio=None,
                audio_rate=0,
            )
        )


class NullEngine:
    """Answers every request after half a second."""

    max_model_len = 4096

    def __init__(self) -> None:
        self.stats = EngineStats()

    async def ask(self, request: Request) -> Answer:
        self.stats.step(1)
        await asyncio.sleep(ANSWER_SEC)
        self.stats.step(-1)
        self.stats.requests += 1
        self.stats.pieces += 1
        return Answer(text=_TEXT, finish_reason="stop", prompt_tokens=1000, output_tokens=60)


@dataclass(frozen=True)
class _NullSettings:
    max_num_seqs: int

    def start(self) -> NullEngine:
        return NullEngine()


class NullCaptioner(Captioner):
    """Captions by :class:`NullEngine`."""

    def __init__(self, *, settings: Any, **others: Any) -> None:
        null: Any = _NullSettings(settings.max_num_seqs)
        super().__init__(settings=null, **others)
