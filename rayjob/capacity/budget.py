"""What a recipe's requests may cost, from the configuration of the model that a run loads."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from typing import Any

from actors.engine.script import Script
from rayjob.capacity.engine_spec import EngineSpec
from rayjob.capacity.model_shapes import model_config
from rayjob.recipes.base import BaseRecipe
from schemas.budget import Budget, ModelLimits
from schemas.errors import ModelError

logger = logging.getLogger(__name__)

_TABLE_FACTOR = 4
"""vLLM's table of positions is so many times as long as ``max_position_embeddings``."""

_BYTES_PER_TOKEN = 4
"""Of a text in any language, about."""

_LEAST_SEC = 1.0
_MOST_SEC = 4 * 3600.0
_MOST_HEARD_SEC = 1200.0
_MOST_FRAMES = 256
"""Of a clip that is rehearsed: its sound and frames are held in memory."""

_SPARE = 0.95
"""Share of the longest clip that is rehearsed: how long that is, is an estimate."""

_CHAT_TOKENS = 32
"""What a chat template adds to a prompt, about."""

_SOUND = {
    # Whisper's spectrum of 100 frames a second, through a stride of four.
    "qwen2_5_omni_audio_encoder": (25.0, None),
    # The same, in one piece of 30 s.
    "qwen2_audio_encoder": (25.0, 30.0),
    "qwen3_omni_moe_audio_encoder": (13.0, None),
}
"""By the encoder's type: tokens a second, and the seconds that it hears."""

_PATCHES = {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
_USUAL = {
    # Its processor enlarges frames, unless it is told a size.
    "qwen2_5_omni_vision_encoder": _PATCHES | {"tokens_per_second": 25, "min_pixels": 100_352},
    "qwen2_5_vl": _PATCHES | {"tokens_per_second": 4},
}
"""By the encoder's type: what holds where its configuration does not say."""


def recipe_budget(recipe: BaseRecipe, spec: EngineSpec) -> Budget | None:
    """The budget of a recipe's requests; None for a recipe that shows no videos.

    Of a model whose configuration cannot be read, or that is elsewhere, the context alone is known.
    """
    if recipe.plan is None:
        return None
    config: Mapping[str, Any] = {}
    try:
        if spec.kind == "vllm":
            config = model_config(spec.model, revision=spec.revision, storage=spec.storage)
    except ModelError as error:
        logger.info("the model's limits are not known: %s", error)
    longest = max([recipe.prompt, *recipe.prompts.values()], key=len)
    return Budget(
        limits=model_limits(config, context=spec.max_model_len, processor=spec.mm_processor_kwargs),
        text=len((recipe.system + longest).encode()) // _BYTES_PER_TOKEN + _CHAT_TOKENS,
        answer=min(recipe.generation.max_tokens or 0, spec.max_model_len // 2),
        on_too_long=recipe.on_too_long,
        part_sec=recipe.part_sec,
        part_frames=recipe.part_frames,
    )


def recipe_script(recipe: BaseRecipe, budget: Budget | None) -> Script:
    """What an engine rehearses of a recipe.

    Args:
        budget: of its requests, None for a recipe that shows no videos.
    """
    script = Script(
        prompt=recipe.prompt, system=recipe.system, answer=recipe.generation.max_tokens or 0
    )
    plan = recipe.plan
    if plan is None or budget is None:
        return script
    wide = math.isqrt(plan.max_pixels * 16 // 9)
    size = plan.stretch_to or (wide, plan.max_pixels // wide)
    heard = plan.audio_rate is not None
    longest = _SPARE * budget.longest(plan, sound=heard, size=size)
    seconds = min(
        max(longest, _LEAST_SEC),
        recipe.part_sec or math.inf,
        _MOST_HEARD_SEC if heard else _MOST_SEC,
    )
    frames = plan.num_frames or math.ceil(seconds * (plan.fps or 0.0)) or 1
    return dataclasses.replace(
        script,
        frames=min(frames, recipe.part_frames or frames, _MOST_FRAMES),
        size=size,
        seconds=seconds,
        audio_rate=plan.audio_rate,
        sound_required=recipe.sound == "require",
    )


def model_limits(
    config: Mapping[str, Any], *, context: int, processor: Mapping[str, Any]
) -> ModelLimits:
    """What a model takes, by what its ``config.json`` says of it.

    Follows vLLM's ``MRotaryEmbedding`` and the models that give it times for positions.

    Args:
        context: tokens of prompt and answer together.
        processor: the engine's ``mm_processor_kwargs``.
    """
    root: Mapping[str, Any] = config.get("thinker_config", config)
    text: Mapping[str, Any] = root.get("text_config") or root
    vision: dict[str, Any] = root.get("vision_config") or {}
    vision = _USUAL.get(vision.get("model_type", ""), {}) | vision
    audio: Mapping[str, Any] = root.get("audio_config") or {}
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    clock = vision.get("tokens_per_second")
    positions = _TABLE_FACTOR * text.get("max_position_embeddings", 0)
    timed = bool(clock and positions and "mrope_section" in rope)
    per_sec, longest = _SOUND.get(audio.get("model_type", ""), (None, None))
    merged = "spatial_merge_size" in vision
    size = processor.get("size") or {}
    least = processor.get("min_pixels") or size.get("shortest_edge") or vision.get("min_pixels")
    return ModelLimits(
        context=context,
        positions=positions if timed else None,
        positions_per_sec=clock if timed else None,
        sound_tokens_per_sec=per_sec,
        longest_sound_sec=longest,
        token_side=vision["patch_size"] * vision["spatial_merge_size"] if merged else None,
        frames_per_token=vision.get("temporal_patch_size", 1),
        least_pixels=least or 0,
        # A resampler: as many tokens of any frame that it takes in one piece.
        frame_tokens=config.get("query_num"),
    )
