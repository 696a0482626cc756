"""Checkpoint folders with the dimensions of published models, for random weights.

Dimensions are those of ``config.json`` in Qwen/Qwen3-VL-8B-Instruct and Qwen/Qwen2.5-Omni-3B;
processor settings and chat templates are those of the families' tests. The tokenizer has the
embedded model's pieces, the families' control tokens, and fills the published vocabulary up, as
any of its tokens may be sampled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.models.qwen import qwen3_vl
from tests.support.renderers import OMNI

_VOCABULARY = 151_936


def qwen3_vl_8b(folder: Path) -> None:
    """Qwen3-VL-8B."""
    qwen3_vl().write(folder)
    text = {
        "hidden_size": 4096,
        "intermediate_size": 12_288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262_144,
        "vocab_size": _VOCABULARY,
        "rope_scaling": {
            "mrope_interleaved": True,
            "mrope_section": [24, 20, 20],
            "rope_type": "default",
        },
    }
    vision = {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "out_hidden_size": 4096,
        "deepstack_visual_indexes": [8, 16, 24],
    }
    _change(folder / "config.json", {"text_config": text, "vision_config": vision})
    _fill(folder / "tokenizer.json")


def qwen25_omni_3b(folder: Path) -> None:
    """The part of Qwen2.5-Omni-3B that sees, hears and writes."""
    shutil.copytree(OMNI, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    text = {
        "hidden_size": 2048,
        "intermediate_size": 11_008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 32_768,
        "vocab_size": _VOCABULARY,
        "layer_types": ["full_attention"] * 36,
        "max_window_layers": 36,
        "rope_parameters": {"mrope_section": [16, 24, 24], "rope_theta": 1e6},
    }
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "window_size": 112,
    }
    sound = {
        "d_model": 1280,
        "encoder_attention_heads": 20,
        "encoder_ffn_dim": 5120,
        "encoder_layers": 32,
        "output_dim": 2048,
    }
    thinker = {"text_config": text, "vision_config": vision, "audio_config": sound}
    _change(folder / "config.json", {"thinker_config": thinker})
    _fill(folder / "tokenizer.json")


def tiny_qwen3_vl(folder: Path) -> None:
    """The same classes at dimensions for a CPU."""
    qwen3_vl().write(folder)


def tiny_omni(folder: Path) -> None:
    """The embedded model, with places for half a minute."""
    shutil.copytree(OMNI, folder)
    text = {"max_position_embeddings": 32_768}
    _change(folder / "config.json", {"thinker_config": {"text_config": text}})


CHECKPOINTS: Mapping[str, Callable[[Path], None]] = {
    "qwen3-vl-8b": qwen3_vl_8b,
    "qwen2.5-omni-3b": qwen25_omni_3b,
    "tiny-qwen3-vl": tiny_qwen3_vl,
    "tiny-omni": tiny_omni,
}


def _change(path: Path, fields: Mapping[str, Any]) -> None:
    content = json.loads(path.read_text())
    _merge(content, fields)
    path.write_text(json.dumps(content))


def _merge(content: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if isinstance(value, Mapping) and isinstance(content.get(name), dict):
            _merge(content[name], value)
        else:
            content[name] = value


def _fill(path: Path) -> None:
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    # Those that the vocabulary lacks would be numbered behind its end.
    vocabulary |= {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    free = set(range(_VOCABULARY)) - set(vocabulary.values())
    vocabulary |= {f"Ġ{_word(number)}": number for number in sorted(free)}
    path.write_text(json.dumps(tokenizer))


def _word(number: int) -> str:
    """A word of its own for each token, in letters."""
    return "x" + "".join(chr(ord("a") + int(digit)) for digit in str(number))
