"""How many parameters a model has, counted from the shapes in its ``config.json``.

Dense decoders of the Llama and Qwen2 kind, and the encoders of Qwen2.5-VL, Qwen2.5-Omni
and MiniCPM-V. Every function returns a number of parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]


def decoder(text: Config) -> int:
    """A dense decoder: embeddings, attention with grouped keys and values, gated MLP."""
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    head_dim = text.get("head_dim") or hidden // heads
    query = heads * head_dim
    key_value = text.get("num_key_value_heads", heads) * head_dim
    biased = text.get("attention_bias", str(text["model_type"]).startswith(BIASED))
    attention = 2 * hidden * query + 2 * hidden * key_value
    if biased:
        attention += query + 2 * key_value
    layer = attention + 3 * hidden * text["intermediate_size"] + 2 * hidden
    embeddings = text["vocab_size"] * hidden * (1 if text.get("tie_word_embeddings") else 2)
    return int(text["num_hidden_layers"] * layer + hidden + embeddings)


BIASED = ("qwen2", "minicpmv")
"""Decoders whose query, key and value projections have a bias, by start of model_type."""


def qwen_vision(vision: Config) -> int:
    """The vision encoder of Qwen2.5-VL and Qwen2.5-Omni with its merger."""
    hidden, inner, out = (
        vision["hidden_size"],
        vision["intermediate_size"],
        vision["out_hidden_size"],
    )
    patch = (
        vision.get("in_channels", 3)
        * vision.get("temporal_patch_size", 2)
        * vision["patch_size"] ** 2
    )
    attention = _linear(hidden, 3 * hidden) + _linear(hidden, hidden)
    mlp = 2 * _linear(hidden, inner) + _linear(inner, hidden)
    merged = hidden * vision.get("spatial_merge_size", 2) ** 2
    merger = hidden + _linear(merged, merged) + _linear(merged, out)
    return int(patch * hidden + vision["depth"] * (attention + mlp + 2 * hidden) + merger)


def whisper_audio(audio: Config) -> int:
    """The audio encoder of Qwen2.5-Omni: Whisper's, with a projection."""
    width, inner, out = audio["d_model"], audio["encoder_ffn_dim"], audio["output_dim"]
    convolutions = _linear(3 * audio["num_mel_bins"], width) + _linear(3 * width, width)
    # The key projection has no bias.
    attention = 4 * _linear(width, width) - width
    mlp = _linear(width, inner) + _linear(inner, width)
    layer = attention + mlp + 4 * width
    end = 2 * width + _linear(width, out) + 2 * out
    return int(convolutions + audio["encoder_layers"] * layer + end)


def siglip_vision(vision: Config, *, queries: int, out: int) -> int:
    """SigLIP's encoder and MiniCPM-V's resampler, which turns a slice into ``queries`` tokens."""
    hidden, inner, side = vision["hidden_size"], vision["intermediate_size"], vision["patch_size"]
    positions = (vision["image_size"] // side) ** 2
    embeddings = _linear(3 * side**2, hidden) + positions * hidden
    mlp = _linear(hidden, inner) + _linear(inner, hidden)
    layer = 4 * _linear(hidden, hidden) + mlp + 4 * hidden
    encoder = embeddings + vision["num_hidden_layers"] * layer + 2 * hidden
    attention = 4 * _linear(out, out)
    resampler = queries * out + hidden * out + attention + out * out + 3 * 2 * out
    return int(encoder + resampler)


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def count(
    config: Config, *, text: Config, vision: Config | None, audio: Config | None
) -> int | None:
    """Parameters of the whole model, None where a part of it is of a kind not known here."""
    if any(key in text for key in ("num_experts", "num_local_experts", "n_routed_experts")):
        return None
    total = decoder(text)
    if vision is not None:
        if config.get("model_type") == "minicpmv" and "query_num" in config:
            total += siglip_vision(vision, queries=config["query_num"], out=text["hidden_size"])
        elif str(config.get("model_type")) in QWEN_VISION:
            total += qwen_vision(vision)
        else:
            return None
    if audio is not None:
        if config.get("model_type") != "qwen2_5_omni":
            return None
        total += whisper_audio(audio)
    return total


QWEN_VISION = ("qwen2_5_vl", "qwen2_5_omni")
