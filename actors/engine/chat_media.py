"""A clip as parts of a chat message: pictures, a video and sound by data URL."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from actors.engine.chat import Content
from schemas.endpoint import EndpointConfig
from schemas.media import Clip
from schemas.recipe import Request

_JPEG_QUALITY = 92


def clip_content(config: EndpointConfig) -> Callable[[Request], tuple[Content, dict[str, Any]]]:
    """What :class:`actors.engine.chat.ChatClient` sends for a request that may hold a clip.

    Media come before the text, as models are trained.
    """

    def content(request: Request) -> tuple[Content, dict[str, Any]]:
        clip = request.clip
        if clip is None:
            return request.prompt, config.body
        parts, text, body = _pictures(clip, config)
        if clip.audio is not None and config.sound:
            # Without the package soundfile, vLLM 0.32 reads 16 bits 32,768 times too loud.
            sound = _sound(clip, exact=config.frames == "video")
            parts.append({"type": "input_audio", "input_audio": sound})
        return [*parts, {"type": "text", "text": text + request.prompt}], config.body | body

    return content


def _pictures(
    clip: Clip, config: EndpointConfig
) -> tuple[list[dict[str, Any]], str, dict[str, Any]]:
    """Parts with the frames, words on them that go before the prompt, and fields of the body."""
    encoded = [_encoded(frame, config.picture) for frame in clip.frames]
    if len(encoded) > 1 and config.frames == "video":
        # vLLM's form for frames that are sampled already; it looks at each to know its format.
        url = "data:video/jpeg;base64," + ",".join(encoded)
        told = {
            "fps": clip.sampled_fps,
            "duration": clip.duration_sec,
            "num_frames": -1,
        }
        body = {"media_io_kwargs": {"video": told}}
        return [{"type": "video_url", "video_url": {"url": url}}], "", body
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": f"data:image/{config.picture};base64,{each}"}}
        for each in encoded
    ]
    if len(encoded) < 2:
        return parts, "", {}
    times = ", ".join(f"{moment:.1f}" for moment in clip.timestamps)
    words = f"The {len(encoded)} pictures are frames of one video, in order, at {times} seconds."
    return parts, f"{words}\n\n", {}


def _encoded(frame: npt.NDArray[np.uint8], picture: str) -> str:
    """A frame (uint8 RGB, shape (H, W, 3)) as base64 of a picture file."""
    file = io.BytesIO()
    if picture == "png":
        Image.fromarray(frame).save(file, "PNG", compress_level=1)
    else:
        Image.fromarray(frame).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return base64.b64encode(file.getvalue()).decode()


def _sound(clip: Clip, *, exact: bool) -> dict[str, str]:
    """The sound as a WAV file.

    Args:
        exact: of floats, else of 16 bits, which every endpoint that hears takes.
    """
    assert clip.audio is not None
    samples = clip.audio.astype("<f4")
    if not exact:
        samples = (np.clip(samples, -1, 1) * 32767).astype("<i2")
    data, size, rate = samples.tobytes(), samples.itemsize, clip.audio_rate
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 3 if exact else 1, 1),
        *(rate, rate * size, size, 8 * size, b"data", len(data)),
    )
    return {"data": base64.b64encode(head + data).decode(), "format": "wav"}
