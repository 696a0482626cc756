"""Checkpoint folders with the dimensions of published models, for random weights.

Dimensions are those that sizing has of Qwen/Qwen3-VL-8B-Instruct and Qwen/Qwen2.5-Omni-3B;
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

from rayjob.capacity.model_shapes import model_config
from tests.support.models.qwen import qwen3_vl
from tests.support.renderers import OMNI

_VOCABULARY = 151_936


def qwen3_vl_8b(folder: Path) -> None:
    """Qwen3-VL-8B."""
    qwen3_vl().write(folder)
    _change(folder / "config.json", _published("Qwen/Qwen3-VL-8B-Instruct"))
    _fill(folder / "tokenizer.json")


def qwen25_omni_3b(folder: Path) -> None:
    """The part of Qwen2.5-Omni-3B that sees, hears and writes."""
    shutil.copytree(OMNI, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = _published("openinterx/UGC-VideoCaptioner")
    _change(folder / "config.json", config)
    # What the embedded model's configuration says in its own way.
    text = {
        "head_dim": 128,
        "layer_types": ["full_attention"] * 36,
        "max_window_layers": 36,
        "rope_parameters": {"mrope_section": [16, 24, 24], "rope_theta": 1e6},
        "rope_scaling": None,
    }
    vision = {"fullatt_block_indexes": [7, 15, 23, 31]}
    thinker = {"text_config": text, "vision_config": vision}
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


def _published(model: str) -> dict[str, Any]:
    """Dimensions alone: classes and types are those of the checkpoint that takes them."""
    config = model_config(model)
    return {name: value for name, value in config.items() if isinstance(value, Mapping)}


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
