"""The two interfaces that captioning is made of: a recipe and an engine.

A recipe is an async program over an engine: it builds requests from a decoded video,
awaits answers, checks them, asks again, and returns rows. The engine batches the
requests of all videos in flight, so a recipe that waits never idles the GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from schemas.config import GenerationConfig
from schemas.media import Clip, DecodedVideo, SamplingPlan
from schemas.tables import CaptionRow


@dataclass(frozen=True, kw_only=True)
class Video:
    """One input, as a recipe sees it: a decoded video, or what earlier captions say of one.

    Attributes:
        metadata: JSON object of the manifest's other columns, None without any.
        source_version: which content of the input this is, for the column of that name.
        decoded: what the decoder extracted, None for a recipe without a plan.
        material: JSON document of earlier captions, None where there is a video.
    """

    video_id: str
    uri: str
    metadata: str | None
    decoded: DecodedVideo | None = None
    material: str | None = None
    source_version: str | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question to the engine.

    Attributes:
        prompt: the user's text, without any chat markup.
        system: the system message, "" for none.
        clip: picture and sound to show, or None for a text-only question. One frame is
            shown as an image, several as a video; sound is shown if there is any.
        generation: how to sample; fields that are None are the engine's defaults.
        json_schema: the answer is a JSON document of this schema (guided decoding).
    """

    prompt: str
    system: str = ""
    clip: Clip | None = None
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    json_schema: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the engine answered.

    Attributes:
        text: the decoded answer, surrounding white space removed.
        finish_reason: "stop", or "length" for an answer cut off at ``max_tokens``.
        prompt_tokens, output_tokens: counts, media tokens included.
        reasoning: what the model thought before it answered; not in the text.
        reasoning_tokens: of the output, those of what the model thought.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    output_tokens: int
    reasoning: str = ""
    reasoning_tokens: int = 0


class Asker(Protocol):
    """The part of an engine that a recipe may use."""

    async def ask(self, request: Request) -> Answer:
        """Answer one request.

        Raises:
            CaptionError: the engine cannot answer this request.
        """
        ...


class Engine(Asker, Protocol):
    """An engine, as a recipe sees it.

    Attributes:
        max_model_len: tokens that prompt and answer have together.
    """

    max_model_len: int

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, without any chat markup."""
        ...


class Recipe(Protocol):
    """A captioning style.

    Attributes:
        name: the ``recipe`` partition of the tables.
        plan: what the decoder extracts from each video; None for a recipe that works on
            earlier captions.
    """

    name: str
    plan: SamplingPlan | None

    async def caption(self, video: Video, engine: Engine) -> Sequence[CaptionRow]:
        """Caption one video.

        Raises:
            VideoError: the video becomes a row in ``failures``.
        """
        ...
