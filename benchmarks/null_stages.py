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
PROMPT_TOKENS = 1000
_TEXT = " ".join(
    f"A small {colour} {shape} moves slowly to the {side} while a person at the table reads aloud."
    for colour in ("red", "green", "blue", "white")
    for shape in ("circle", "square", "star")
    for side in ("left", "right")
)
"""Two kilobytes, as a detailed caption has. They keep every rule, as what breaks one is asked
again."""


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
        return Answer(
            text=_TEXT, finish_reason="stop", prompt_tokens=PROMPT_TOKENS, output_tokens=60
        )


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
