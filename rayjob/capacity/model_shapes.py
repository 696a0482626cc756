"""What sizing must know of a model: its decoder's shape and the size of its weights.

Weights are counted from the headers of the safetensors files, on disk or on the hub. The
published models are shipped as shapes and sizes, so that they are sized without a network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from schemas.errors import ModelError

_FLOATS = ("F16", "BF16", "F32", "F64")
_DECODERS = ("text_config", "llm_config", "language_config")
"""Where a configuration of several models holds the decoder's."""

_OTHER_CACHES = {"kv_lora_rank", "layers_block_type", "num_kv_shared_layers"}
"""Settings of decoders whose cache is smaller than keys and values of all layers."""

_OTHER_BYTES = {"I64": 8, "I32": 4, "I16": 2}


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """The vision encoder, as far as its working memory goes.

    Attributes:
        patches_per_token: patches of the picture behind one token of the prompt.
    """

    hidden: int
    intermediate: int
    patches_per_token: float


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A model as sizing sees it.

    Attributes:
        weight_bytes: what the part that vLLM loads (of Qwen2.5-Omni the thinker) takes in the
            GPU's memory.
        item_bytes: of one activation or cache entry: 2, or 4 for float32.
    """

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    encoder: EncoderShape | None
    weight_bytes: int
    item_bytes: int

    def splits(self, gpus: int) -> bool:
        """Whether so many GPUs can share the heads: vLLM refuses other numbers of them."""
        evenly = self.kv_heads % gpus == 0 or gpus % self.kv_heads == 0
        return self.heads % gpus == 0 and evenly

    def kv_bytes_per_token(self, *, tensor_parallel: int = 1, item_bytes: int | None = None) -> int:
        """Bytes of keys and values of one token on one GPU.

        Args:
            tensor_parallel: GPUs that share the heads; none has less than one head.
            item_bytes: of one entry, by default as the model computes.
        """
        heads = max(1, self.kv_heads // tensor_parallel)
        return 2 * self.layers * heads * self.head_dim * (item_bytes or self.item_bytes)


def published_models() -> tuple[str, ...]:
    """Names of the models whose shapes are shipped."""
    return tuple(_published())


@cache
def _published() -> dict[str, dict[str, Any]]:
    text = files("rayjob.capacity").joinpath("published_models.json").read_text("utf-8")
    data: dict[str, dict[str, Any]] = json.loads(text)
    return data


def load_shape(model: str, *, revision: str | None = None, dtype: str = "auto") -> ModelShape:
    """The shape of a checkpoint folder, a published model, or any other on the hub.

    Args:
        model: folder or hub name.
        dtype: the engine's setting of that name.

    Raises:
        ModelError: the model cannot be read, or is of a kind that cannot be sized.
    """
    folder = Path(model)
    if folder.is_dir():
        return _from_folder(model, folder, dtype=dtype)
    if model in _published():
        entry = _published()[model]
        weights = [Tensor("all", "BF16", entry["parameters"])]
        return shape_of(model, entry["config"], tensors=weights, dtype=dtype)
    return _from_hub(model, revision=revision, dtype=dtype)


def model_config(model: str, *, revision: str | None = None) -> Mapping[str, Any]:
    """The ``config.json`` of a model, as :func:`load_shape` finds it.

    Raises:
        ModelError: it cannot be read.
    """
    if model in _published() and not Path(model).is_dir():
        published: dict[str, Any] = _published()[model]["config"]
        return published
    with asking_hub(model, advice=""):
        folder = Path(model)
        path = folder / "config.json" if folder.is_dir() else hub_config(model, revision=revision)
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return config


@dataclass(frozen=True)
class Tensor:
    """One entry of a safetensors header."""

    name: str
    dtype: str
    size: int


def _from_folder(model: str, folder: Path, *, dtype: str) -> ModelShape:
    from huggingface_hub import parse_local_safetensors_file_metadata

    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        headers = [
            parse_local_safetensors_file_metadata(path)
            for path in sorted(folder.glob("*.safetensors"))
        ]
    except Exception as error:
        # The parser has errors of its own, beside those of the file system and of JSON.
        raise ModelError(f"the checkpoint {model} cannot be read: {error}") from error
    if not headers:
        raise ModelError(f"the checkpoint {model} cannot be sized: it has no *.safetensors files")
    return shape_of(model, config, tensors=_tensors(headers), dtype=dtype)


def _from_hub(model: str, *, revision: str | None, dtype: str) -> ModelShape:
    from huggingface_hub import get_safetensors_metadata

    with asking_hub(model, advice=f"Known without a network: {', '.join(published_models())}"):
        config = json.loads(hub_config(model, revision=revision).read_text("utf-8"))
        headers = get_safetensors_metadata(model, revision=revision).files_metadata.values()
    return shape_of(model, config, tensors=_tensors(headers), dtype=dtype)


def hub_config(model: str, *, revision: str | None) -> Path:
    """The ``config.json`` of a model on the hub; for use in :func:`asking_hub`."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(model, "config.json", revision=revision, etag_timeout=10))


@contextmanager
def asking_hub(model: str, *, advice: str) -> Iterator[None]:
    """Turn whatever the hub's client raises into a ModelError that ends with some advice."""
    try:
        yield
    except Exception as error:
        # It has many kinds for "not there", "not allowed" and "offline".
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelError(
            f"the model {model} is neither a folder nor available from the hub: {reason} {advice}"
        ) from error


def _tensors(headers: Iterable[Any]) -> Iterable[Tensor]:
    for header in headers:
        for name, info in header.tensors.items():
            yield Tensor(name, info.dtype, math.prod(info.shape))


def shape_of(
    name: str, config: Mapping[str, Any], *, tensors: Iterable[Tensor], dtype: str
) -> ModelShape:
    """Read a shape from a ``config.json`` and the weights' headers.

    Raises:
        ModelError: the configuration is of a kind that cannot be sized.
    """
    root: Mapping[str, Any] = config.get("thinker_config", config)
    text = next((root[key] for key in _DECODERS if key in root), root)
    vision = root.get("vision_config")
    needed = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
    missing = [key for key in needed if not isinstance(text.get(key), int)]
    if missing:
        raise ModelError(f"the model {name} cannot be sized: its config.json has no {missing[0]}")
    if _OTHER_CACHES & text.keys() or len(set(text.get("layer_types") or ())) > 1:
        raise ModelError(
            f"the model {name} cannot be sized: its layers do not all keep the keys and values of "
            "every token"
        )
    item_bytes = 4 if dtype in ("float32", "float") else 2
    # Of Qwen2.5-Omni vLLM loads the thinker, not what speaks.
    speech = ("talker.", "token2wav.") if "thinker_config" in config else ()
    weight_bytes = sum(
        tensor.size * _bytes(tensor.dtype, item_bytes)
        for tensor in tensors
        if not tensor.name.startswith(speech)
    )
    heads = text["num_attention_heads"]
    return ModelShape(
        name=name,
        layers=text["num_hidden_layers"],
        hidden=text["hidden_size"],
        intermediate=text.get("intermediate_size") or 4 * text["hidden_size"],
        heads=heads,
        kv_heads=text.get("num_key_value_heads") or heads,
        head_dim=text.get("head_dim") or text["hidden_size"] // heads,
        vocab=text["vocab_size"],
        encoder=None if vision is None else _encoder(config, vision),
        weight_bytes=weight_bytes,
        item_bytes=item_bytes,
    )


def _bytes(dtype: str, item_bytes: int) -> int:
    """Bytes of one entry once loaded: floats are cast to the engine's type, the rest is kept."""
    return item_bytes if dtype in _FLOATS else _OTHER_BYTES.get(dtype, 1)


def _encoder(config: Mapping[str, Any], vision: Mapping[str, Any]) -> EncoderShape:
    hidden = vision.get("hidden_size") or vision.get("embed_dim") or 1280
    if "query_num" in config:
        # A slice of 448 x 448 pixels becomes query_num tokens.
        patches = (448 // vision.get("patch_size", 14)) ** 2 / config["query_num"]
    else:
        patches = float(vision.get("spatial_merge_size", 2) ** 2)
    return EncoderShape(
        hidden=hidden,
        intermediate=vision.get("intermediate_size") or 4 * hidden,
        patches_per_token=patches,
    )
