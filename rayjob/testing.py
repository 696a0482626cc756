"""For tests of recipes: an engine that answers by a script, and sample videos; no model, no files.

See ``docs/recipes.md`` for a recipe with its test.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from schemas.frame_pack import FramePacker
from schemas.media import DecodedVideo, SamplingPlan, VideoInfo
from schemas.recipe import Answer, Request, Video

CHAT_TOKENS = 40
"""What a chat template adds to a prompt, with a system message of its own."""

CUT_OFF = "~"
"""An answer that ends so was cut off at the token limit."""

Script = Callable[[Request], str]

_TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]")
_FPS = 25.0
_WIDTH, _HEIGHT = 32, 24
"""Below the pixel budget of any plan."""


class ScriptedEngine:
    """A :class:`schemas.recipe.Engine` that records requests; words and marks are its tokens.

    Args:
        script: the answers in turn, or what makes the answer to a request, or raises.
        max_model_len: a request that could pass it fails the test.

    Attributes:
        requests: in the order of their arrival.
    """

    def __init__(self, script: Script | Iterable[str], *, max_model_len: int = 1 << 30) -> None:
        answers = iter(() if callable(script) else script)
        self._script = script if callable(script) else lambda _: next(answers, None)
        self.max_model_len = max_model_len
        self.requests: list[Request] = []

    async def ask(self, request: Request) -> Answer:
        """Answer a request as the script says.

        Raises:
            AssertionError: the request could pass the context, there is no answer left, or the
                answer is longer than the request allows.
        """
        size = tokens(request.system) + tokens(request.prompt) + CHAT_TOKENS
        limit = request.generation.max_tokens
        assert size + (limit or 0) <= self.max_model_len, "the request could pass the context"
        self.requests.append(request)
        await asyncio.sleep(0)
        text = self._script(request)
        assert text is not None, "the engine is asked more often than it has answers"
        assert limit is None or tokens(text) <= limit, "the script says more than it may"
        return Answer(
            text=text,
            finish_reason="length" if text.endswith(CUT_OFF) else "stop",
            prompt_tokens=size,
            output_tokens=tokens(text),
        )

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many words and marks each text has."""
        return [tokens(text) for text in texts]


def tokens(text: str) -> int:
    """Words and marks of a text."""
    return len(_TOKEN.findall(text))


def sample_video(
    plan: SamplingPlan | None,
    *,
    seconds: float = 4.0,
    sound: bool = True,
    metadata: str | None = None,
) -> Video:
    """A white square that crosses a blue background from left to right, and a tone of 440 Hz.

    Args:
        plan: how it is sampled; frames are 32 x 24 pixels unless the plan stretches them.
        sound: whether the file has any.
        metadata: see :class:`schemas.recipe.Video`.

    Raises:
        ValueError: there is no plan: the recipe works on earlier captions
            (:class:`rayjob.recipes.material.Material`).
    """
    if plan is None:
        raise ValueError("a recipe without a plan is given captions, not a clip")
    last = seconds - 1 / _FPS
    if plan.fps is not None:
        times = np.arange(0.0, seconds, 1 / plan.fps)
    else:
        times = np.linspace(0.0, last, plan.num_frames or 0, endpoint=plan.include_last)
    width, height = plan.stretch_to or (_WIDTH, _HEIGHT)
    frames = np.full((len(times), height, width, 3), (20, 40, 120), dtype=np.uint8)
    side = height // 3
    for frame, time in zip(frames, times, strict=True):
        left = round((width - side) * time / seconds)
        frame[side : 2 * side, left : left + side] = 255
    packer = FramePacker()
    for frame in frames if plan.compress else ():
        packer.add(frame)
    rate = plan.audio_rate or 0
    wave = np.sin(2 * np.pi * 440 / max(rate, 1) * np.arange(round(seconds * rate)))
    decoded = DecodedVideo(
        info=VideoInfo(
            duration_sec=seconds,
            fps=_FPS,
            width=width,
            height=height,
            has_video=True,
            has_audio=sound,
        ),
        frames=frames[:0, :0, :0] if plan.compress else frames,
        pack=packer.pack() if plan.compress else None,
        timestamps=times.astype(np.float64),
        audio=(wave / 2).astype(np.float32) if sound and rate else None,
        audio_rate=rate if sound else 0,
    )
    return Video(
        video_id="sample.mp4", uri="/videos/sample.mp4", metadata=metadata, decoded=decoded
    )
