"""What an engine will be asked, rendered once without weights: is it seen, heard and read?

The clips are made up, as long and as large as the recipe's plan makes them. What is compared is
what reaches the model's input: places, frames, times, length of the sound, texts.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from actors.engine.adapters import ModelInput
from actors.engine.loading import Loaded
from actors.engine.prompting import PYTHON_TEXT
from actors.engine.script import Script
from schemas.errors import ModelError, PromptTooLongError
from schemas.media import Clip
from schemas.recipe import Request

_PATCH_FRAMES = 2
"""Frames that the models known merge into one patch at most."""

_LONGEST = "the longest clip"

_SHORT_SEC = 2.0
_TOLD_LETTERS = 60
"""Letters of a text by which it is found again."""

_NEAR = 0.02
"""Share by which a time or a length may be off: they are told in bfloat16."""

_SPECTRA_PER_SEC = 100.0

_RUN = re.compile(r"(<[^<>]{1,40}>|\[[A-Z_]{1,40}\])\1{2,}")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One request as the model gets it.

    Attributes:
        tokens: of the prompt, media included.
        media: tokens of each medium, by kind.
        text: the prompt, with runs of one token written once.
    """

    name: str
    tokens: int
    media: dict[str, int]
    text: str


def rehearse(loaded: Loaded, script: Script) -> list[Scene]:
    """Render what a recipe asks, and compare.

    Raises:
        ModelError: the model cannot be asked so; names the setting that helps.
    """
    _check_senses(loaded, script)
    scenes = []
    for name, clip in _clips(loaded, script):
        try:
            scenes.append(_play(loaded, script, name, clip))
        except PromptTooLongError as error:
            # How long a clip may be is an estimate; what passes it costs a video a row.
            if name != _LONGEST:
                raise ModelError(f"{name}: {error}") from error
    return scenes


def first_request(loaded: Loaded, script: Script) -> Request:
    """The first of the requests that are rehearsed."""
    _, clip = next(_clips(loaded, script))
    return Request(prompt=script.prompt, system=script.system, clip=clip)


def _check_senses(loaded: Loaded, script: Script) -> None:
    adapter = loaded.prompts.adapter
    takes = ", ".join(sorted(adapter.takes)) or "no media"
    if script.frames and "image" not in adapter.takes:
        raise ModelError(
            f"the model sees nothing (it takes {takes}), and the recipe shows videos: choose "
            "another --model"
        )
    if script.audio_rate is not None and script.sound_required and not adapter.hears:
        raise ModelError(
            f"the model does not hear (it takes {takes}), and sound is the recipe's point: choose "
            "another --model, or set recipe.sound to off for captions of the picture alone"
        )


def _clips(loaded: Loaded, script: Script) -> Iterator[tuple[str, Clip | None]]:
    if not script.frames:
        yield "text", None
        return
    hears = script.audio_rate is not None and loaded.prompts.adapter.hears
    sound = " with sound" if hears else ""
    yield "a single frame", _clip(script, frames=1, seconds=_SHORT_SEC, heard=False)
    if script.frames > 1:
        short = min(_SHORT_SEC, script.seconds)
        yield f"a short clip{sound}", _clip(script, frames=script.frames, seconds=short)
        yield _LONGEST, _clip(script, frames=script.frames, seconds=script.seconds)
    if hears:
        yield "sound alone", _clip(script, frames=0, seconds=_SHORT_SEC)


def _clip(script: Script, *, frames: int, seconds: float, heard: bool = True) -> Clip:
    width, height = script.size
    rate = script.audio_rate if heard else None
    return Clip(
        duration_sec=seconds,
        frames=np.full((frames, height, width, 3), 128, np.uint8),
        timestamps=np.linspace(0.0, seconds, frames, endpoint=False),
        audio=None if rate is None else np.zeros(round(seconds * rate), np.float32),
        audio_rate=rate or 0,
    )


def _play(loaded: Loaded, script: Script, name: str, clip: Clip | None) -> Scene:
    """Render one request, and compare it with what was to be shown.

    Raises:
        PromptTooLongError: it does not fit the model's context.
        ModelError: it does not come through.
    """
    from vllm.exceptions import VLLMClientError

    request = Request(prompt=script.prompt, system=script.system, clip=clip)
    try:
        prompt = _built(loaded, request)
        (prepared,) = loaded.renderer.render_cmpl([prompt])
    except PromptTooLongError:
        raise
    except (ValueError, TypeError, AssertionError, RuntimeError, VLLMClientError) as error:
        raise ModelError(f"{name}: {_advised(loaded, request, error)}") from error
    ids = prepared["prompt_token_ids"]
    context = loaded.config.model_config.max_model_len
    if len(ids) >= context:
        raise PromptTooLongError(
            f"{len(ids)} tokens, and the model's context has {context}; raise "
            "engine.max_model_len, or sample fewer or smaller frames by recipe.plan"
        )
    places = prepared.get("mm_placeholders") or {}
    scene = Scene(
        name=name,
        tokens=len(ids),
        media={kind: sum(place.length for place in each) for kind, each in places.items()},
        text=_RUN.sub(_shortened, loaded.renderer.get_tokenizer().decode(ids)),
    )
    wrong = next(_faults(scene, request, prompt, prepared), None)
    if wrong is not None:
        raise ModelError(f"{name}: {wrong}. 'rayjob check --verbose' prints what the model gets")
    return scene


def _built(loaded: Loaded, request: Request) -> ModelInput:
    """Build a prompt, whether or not this thread has an event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, loaded.prompts.build(request)).result()


def _faults(scene: Scene, request: Request, prompt: Any, prepared: Any) -> Iterator[str]:
    if PYTHON_TEXT in scene.text and PYTHON_TEXT not in request.system + request.prompt:
        yield "the chat template prints a list of Python; set engine.chat_template"
    for setting, text in (
        ("recipe.system_prompt", request.system),
        ("recipe.prompt_file", request.prompt),
    ):
        if _letters(text)[:_TOLD_LETTERS] not in _letters(scene.text):
            yield (
                f"the chat template leaves out the text of {setting}; set engine.chat_template, "
                "or leave that text empty"
            )
    data = prompt.get("multi_modal_data", {})
    for kind, items in data.items():
        expected = len(items) if kind == "image" else 1
        found = len(prepared["mm_placeholders"].get(kind, ()))
        if found != expected or not scene.media[kind]:
            yield (
                f"the prompt has {found} places for {expected} of the kind {kind}; "
                "set engine.chat_template"
            )
    if request.clip is not None:
        yield from _lost(request.clip, prepared, data)


def _lost(clip: Clip, prepared: Any, data: Any) -> Iterator[str]:
    """What of a clip did not come through the model's processor."""
    sent = {kind: items[0] for kind, items in prepared["mm_kwargs"].items() if items}
    values = {name: field.data for item in sent.values() for name, field in item.items()}
    if "video" in data:
        frames = _frames_of(values)
        if frames is not None and not clip.num_frames <= frames < clip.num_frames + _PATCH_FRAMES:
            yield (
                f"the model's processor makes {frames} frames of {clip.num_frames}; take what it "
                "says of frames out of engine.mm_processor_kwargs"
            )
        apart = values.get("second_per_grid_ts")
        every = _PATCH_FRAMES / clip.sampled_fps
        if apart is not None and abs(float(apart) - every) > _NEAR * every:
            yield (
                f"the model is told {float(apart):.2f} s between pairs of frames that are "
                f"{every:.2f} s apart; take fps out of engine.mm_processor_kwargs"
            )
    heard = values.get("audio_feature_lengths")
    if heard is not None and clip.audio is not None:
        seconds, whole = float(heard) / _SPECTRA_PER_SEC, len(clip.audio) / clip.audio_rate
        if abs(seconds - whole) > 1 + _NEAR * whole:
            yield (
                f"the model hears {seconds:.1f} s of {whole:.1f} s of sound; "
                "recipe.on_too_long: window captions parts"
            )


def _frames_of(values: dict[str, Any]) -> int | None:
    """Frames of a video by what the processor made of it; None where it does not tell."""
    if "video_grid_thw" in values:
        return int(values["video_grid_thw"].flatten()[0]) * _PATCH_FRAMES
    pixels = values.get("pixel_values_videos")
    return len(pixels) if pixels is not None and pixels.ndim == 4 else None


def _advised(loaded: Loaded, request: Request, error: Exception) -> str:
    """What went wrong, and the setting that helps where that can be told."""
    text = " ".join(str(error).split())
    if "prompt replacement" in text or "prompt placeholders" in text:
        return f"the chat template has no place for a medium; set engine.chat_template. {text}"
    if request.system:
        silent = dataclasses.replace(request, system="", clip=None)
        asked = dataclasses.replace(request, clip=None)
        if _renders(loaded, silent) and not _renders(loaded, asked):
            return f"the model takes no system message; set recipe.system_prompt to ''. {text}"
    return text


def _renders(loaded: Loaded, request: Request) -> bool:
    try:
        _built(loaded, request)
    except Exception:
        return False
    return True


def _letters(text: str) -> str:
    """Letters and digits alone: processors change white space."""
    return re.sub(r"\W", "", text)


def _shortened(match: re.Match[str]) -> str:
    return f"{match[1]}*{math.ceil(len(match[0]) / len(match[1]))}"


def shown(scenes: Sequence[Scene], *, texts: bool) -> Iterator[str]:
    """Lines for a person.

    Args:
        texts: with what the model gets, word for word.
    """
    for scene in scenes:
        media = "".join(f", {count} of {kind}" for kind, count in scene.media.items())
        yield f"{scene.name}: {scene.tokens} tokens{media}"
        if texts:
            yield scene.text
