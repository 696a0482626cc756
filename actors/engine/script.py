"""What a recipe asks of an engine, as far as that is known before there is a video."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Script:
    """What a recipe asks, as plain data made on the driver.

    Attributes:
        prompt, system: texts of a request.
        answer: tokens of an answer at most.
        frames: of a clip; 0 for a recipe of texts.
        size: width and height of a frame in pixels.
        seconds: length of the longest clip.
        audio_rate: samples per second of the sound, None without.
        sound_required: a model that does not hear is refused.
    """

    prompt: str
    system: str
    answer: int
    frames: int = 0
    size: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    audio_rate: int | None = None
    sound_required: bool = False
