"""Checkpoints without weights: a family's real classes and processor settings, tiny dimensions.

The tokenizer has the embedded model's bytes and pieces, and the family's own control tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.renderers import OMNI

FIRST_CONTROL = 675
"""Id of the first control token; what is below are bytes and pieces of words."""

VOCABULARY = 768

HALF = [0.5, 0.5, 0.5]
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]

OWN_PROCESSOR: dict[str, Any] = {
    "auto_map": {
        "AutoImageProcessor": "processing_own.OwnImageProcessor",
        "AutoProcessor": "processing_own.OwnProcessor",
    },
    "processor_class": "OwnProcessor",
    "image_processor_type": "OwnImageProcessor",
    "image_mean": HALF,
    "image_std": HALF,
}
"""Settings of a processor that is our own, where the vendor's comes along with the weights."""

TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}

VISION: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One family.

    Attributes:
        control: its control tokens; their ids follow FIRST_CONTROL.
        template: its chat template.
        config: of ``config.json``. A text that is a control token stands for its id where the
            name of its field ends in ``_id``, ``_ids`` or ``_index``.
        tokenizer: further fields of ``tokenizer_config.json``.
        files: further files by name, as JSON.
        code: modules that the checkpoint brings along, by name.
    """

    control: Sequence[str]
    template: str
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write it as a checkpoint folder, for ``load_format: dummy``."""
        folder.mkdir(parents=True)
        ids = {token: FIRST_CONTROL + number for number, token in enumerate(self.control)}
        assert FIRST_CONTROL + len(ids) <= VOCABULARY
        _dump(folder / "config.json", _with_ids(self.config, ids))
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        model = json.loads((OMNI / "tokenizer.json").read_text())
        pieces = model["model"]["vocab"].items()
        model["model"]["vocab"] = {piece: at for piece, at in pieces if at < FIRST_CONTROL}
        model["added_tokens"] = [
            {"id": at, "content": token, "special": _is_control(token), **flags}
            for token, at in ids.items()
        ]
        _dump(folder / "tokenizer.json", model)
        _dump(
            folder / "tokenizer_config.json",
            {
                "tokenizer_class": "Qwen2Tokenizer",
                "eos_token": "<|im_end|>",
                "pad_token": "<|endoftext|>",
                "model_max_length": 131_072,
                "clean_up_tokenization_spaces": False,
                **self.tokenizer,
            },
        )
        (folder / "chat_template.jinja").write_text(self.template)
        for name, content in self.files.items():
            _dump(folder / name, content)
        for name, text in self.code.items():
            (folder / name).write_text(text)
        return folder


def _is_control(token: str) -> bool:
    """Whether a token is left out of texts: families keep white space and marks of thinking."""
    return not token.isspace() and token not in ("<think>", "</think>")


def _dump(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1))


def _with_ids(value: Any, ids: Mapping[str, int], name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _with_ids(each, ids, key) for key, each in value.items()}
    if name.endswith(("_id", "_ids", "_index")):
        if isinstance(value, list):
            return [ids.get(each, each) for each in value]
        return ids.get(value, value)
    return value
