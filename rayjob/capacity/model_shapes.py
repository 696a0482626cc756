"""What sizing must know of a model: its decoder's shape and the size of its weights.

Weights are counted from the headers of the safetensors files, wherever these are. The
published models are shipped as shapes and sizes, so that they are sized without a network.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from rayjob.capacity.model_files import (
    asking_hub,
    hub_config,
    is_stored,
    read_stored,
    stored_model,
)
from schemas.errors import ModelError
from schemas.media import StorageOptions

_FLOATS = ("F16", "BF16", "F32", "F64")
_DECODERS = ("text_config", "llm_config", "language_config")
"""Where a configuration of several models holds the decoder's."""

_OTHER_CACHES = {"kv_lora_rank", "layers_block_type", "num_kv_shared_layers", "global_head_dim"}
"""Settings of decoders whose cache is not made of keys and values alike in all layers."""

_ALL, _WINDOW = "full_attention", "sliding_attention"
"""Layers by what they keep."""

_ON_THE_FLY = "fp8"
"""The quantisation that vLLM makes of any weights while it loads them, and that is sized."""

_IN_LAYERS = re.compile(r"\.layers\.\d+\..*(?:_proj|\.experts\.\w+)(?:\.weight)?$")
_OF_ENCODERS = re.compile(r"(?:^|\.)(?:visual|vision\w*|audio\w*|image\w*)\.")

_OTHER_BYTES = {"I64": 8, "I32": 4, "I16": 2}

_MOST_HEADER_BYTES = 100_000_000
"""As the format has it."""

_USUAL_STORAGE = StorageOptions()


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
        layers: that keep keys and values of every token.
        sliding_layers: that keep those of the last ``window`` tokens.
    """

    name: str
    layers: int
    sliding_layers: int = 0
    window: int = 0
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

    def layer_bytes_per_token(self, *, tensor_parallel: int, item_bytes: int | None) -> int:
        """Bytes of keys and values of one token in one layer on one GPU.

        Args:
            tensor_parallel: GPUs that share the heads; none has less than one head.
            item_bytes: of one entry, None for what the model computes in.
        """
        heads = max(1, self.kv_heads // tensor_parallel)
        return 2 * heads * self.head_dim * (item_bytes or self.item_bytes)


def published_models() -> tuple[str, ...]:
    """Names of the models that recipes run by default; their shapes are shipped."""
    return tuple(name for name, known in _published().items() if "default_of" in known)


@cache
def _published() -> dict[str, dict[str, Any]]:
    text = files("rayjob.capacity").joinpath("published_models.json").read_text("utf-8")
    data: dict[str, dict[str, Any]] = json.loads(text)
    return data


def load_shape(
    model: str,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    quantization: str | None = None,
    storage: StorageOptions = _USUAL_STORAGE,
) -> ModelShape:
    """The shape of a checkpoint in a folder or a storage, a published model, or any on the hub.

    Args:
        model: folder, address or hub name.
        dtype: the engine's setting of that name.
        quantization: vLLM's argument of that name.
        storage: how to reach the storage.

    Raises:
        ModelError: the model cannot be read, or is of a kind that cannot be sized.
    """
    tensors: Iterable[Tensor]
    if is_stored(model) or Path(model).is_dir():
        tensors = _weights(model, storage)
    elif model in _published():
        known = _published()[model]
        tensors = [
            Tensor("all", "BF16", known["parameters"]),
            Tensor("linear", "F8_E4M3", known.get("fp8_parameters", 0)),
        ]
    else:
        tensors = _weights_on_hub(model, revision)
    config = model_config(model, revision=revision, storage=storage)
    return shape_of(model, config, tensors=list(tensors), dtype=dtype, quantization=quantization)


def model_config(
    model: str, *, revision: str | None = None, storage: StorageOptions = _USUAL_STORAGE
) -> Mapping[str, Any]:
    """The ``config.json`` of a model, as :func:`load_shape` finds it.

    Raises:
        ModelError: it cannot be read.
    """
    config: dict[str, Any]
    try:
        if is_stored(model):
            config = json.loads(read_stored(stored_model(model, storage), "config.json"))
        elif Path(model).is_dir():
            config = json.loads((Path(model) / "config.json").read_text("utf-8"))
        elif model in _published():
            config = _published()[model]["config"]
        else:
            with asking_hub(model, advice=f"Known without a network: {', '.join(_published())}"):
                config = json.loads(hub_config(model, revision=revision).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"the config.json of {model} cannot be read: {error}") from error
    return config


@dataclass(frozen=True)
class Tensor:
    """One entry of a safetensors header."""

    name: str
    dtype: str
    size: int


def _weights(model: str, storage: StorageOptions) -> list[Tensor]:
    """What the safetensors files of a folder, here or in a storage, say that they hold."""
    try:
        if is_stored(model):
            stored = stored_model(model, storage).only(".safetensors")
            readers = [partial(stored.read, file) for file in stored.files if "/" not in file.name]
        else:
            paths = sorted(Path(model).glob("*.safetensors"))
            readers = [partial(_read_range, path) for path in paths]
        found = [tensor for read in readers for tensor in _tensors(read)]
    except ModelError:
        raise
    except Exception as error:
        # A broken header fails in as many ways as it can be broken.
        raise ModelError(f"the checkpoint {model} cannot be read: {error}") from error
    if not readers:
        raise ModelError(f"the checkpoint {model} cannot be sized: it has no *.safetensors files")
    return found


def _read_range(path: Path, start: int, stop: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(stop - start)


def _tensors(read: Callable[[int, int], bytes]) -> Iterator[Tensor]:
    """Entries of the header of a safetensors file, whose size stands in its first eight bytes."""
    size = int.from_bytes(read(0, 8), "little")
    if size > _MOST_HEADER_BYTES:
        raise ValueError("its header is damaged")
    for name, info in json.loads(read(8, 8 + size)).items():
        if name != "__metadata__":
            yield Tensor(name, info["dtype"], math.prod(info["shape"]))


def _weights_on_hub(model: str, revision: str | None) -> list[Tensor]:
    from huggingface_hub import get_safetensors_metadata

    with asking_hub(model, advice=f"Known without a network: {', '.join(_published())}"):
        files = get_safetensors_metadata(model, revision=revision).files_metadata.values()
        return [
            Tensor(name, info.dtype, math.prod(info.shape))
            for file in files
            for name, info in file.tensors.items()
        ]


def shape_of(
    name: str,
    config: Mapping[str, Any],
    *,
    tensors: Sequence[Tensor],
    dtype: str,
    quantization: str | None = None,
) -> ModelShape:
    """Read a shape from a ``config.json`` and the weights' headers.

    Raises:
        ModelError: the model is of a kind that cannot be sized, or changes while it is loaded.
    """
    if quantization and quantization != _ON_THE_FLY and "quantization_config" not in config:
        raise ModelError(
            f"the model {name} cannot be sized: engine.vllm_args.quantization changes its weights "
            "while they are loaded. A checkpoint that is quantised already can be"
        )
    read = partial(_read_shape, name, tensors=tensors, dtype=dtype, quantization=quantization)
    try:
        return read(config)
    except ModelError:
        # Some configurations leave out whatever is their class's default.
        if (filled := _filled_in(config)) is None:
            raise
        return read(filled)


def _filled_in(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A configuration with the defaults of transformers' class for it; None without one here."""
    if importlib.util.find_spec("transformers") is None:
        return None
    from transformers import CONFIG_MAPPING

    try:
        kind = CONFIG_MAPPING[config["model_type"]]
        filled: Mapping[str, Any] = kind.from_dict(copy.deepcopy(dict(config))).to_dict()
    except Exception:
        # Whatever a class raises of what it was not written for.
        return None
    return filled


def _read_shape(
    name: str,
    config: Mapping[str, Any],
    *,
    tensors: Sequence[Tensor],
    dtype: str,
    quantization: str | None,
) -> ModelShape:
    root: Mapping[str, Any] = config.get("thinker_config", config)
    text = next((root[key] for key in _DECODERS if key in root), root)
    vision = root.get("vision_config")
    needed = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
    missing = [key for key in needed if not isinstance(text.get(key), int)]
    if missing:
        raise ModelError(f"the model {name} cannot be sized: its config.json has no {missing[0]}")
    kinds = Counter(text.get("layer_types") or [_ALL] * text["num_hidden_layers"])
    untold = _slides(text) and not text.get("layer_types")
    if _OTHER_CACHES & text.keys() or kinds.keys() - {_ALL, _WINDOW} or untold:
        raise ModelError(
            f"the model {name} cannot be sized: it is not told of all its layers which keys and "
            "values they keep"
        )
    item_bytes = 4 if dtype in ("float32", "float") else 2
    # Of Qwen2.5-Omni vLLM loads the thinker, not what speaks.
    speech = ("talker.", "token2wav.") if "thinker_config" in config else ()
    weight_bytes = sum(
        tensor.size * _bytes(tensor, item_bytes, quantization)
        for tensor in tensors
        if not tensor.name.startswith(speech)
    )
    heads = text["num_attention_heads"]
    return ModelShape(
        name=name,
        layers=kinds[_ALL],
        sliding_layers=kinds[_WINDOW],
        window=text.get("sliding_window") or 0,
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


def _slides(text: Mapping[str, Any]) -> bool:
    """Whether layers look back less far than the context, whichever they are: Gemma 3 leaves that
    to the code that reads its configuration.
    """
    window = text.get("sliding_window")
    if not isinstance(window, int) or text.get("use_sliding_window") is False:
        return False
    return window < float(text.get("max_position_embeddings") or math.inf)


def _bytes(tensor: Tensor, item_bytes: int, quantization: str | None) -> int:
    """Bytes of one entry once loaded: floats are cast to the engine's type, or quantised in the
    decoder's layers, and the rest is kept.
    """
    if tensor.dtype not in _FLOATS:
        return _OTHER_BYTES.get(tensor.dtype, 1)
    shrinks = _IN_LAYERS.search(tensor.name) and not _OF_ENCODERS.search(tensor.name)
    return 1 if quantization == _ON_THE_FLY and shrinks else item_bytes


def _encoder(config: Mapping[str, Any], vision: Mapping[str, Any]) -> EncoderShape:
    hidden = vision.get("hidden_size") or vision.get("embed_dim") or 1280
    if "query_num" in config:
        # A slice of 448 x 448 pixels becomes query_num tokens.
        patches = (448 // vision.get("patch_size", 14)) ** 2 / config["query_num"]
    elif "mm_tokens_per_image" in config:
        patches = (vision["image_size"] // vision["patch_size"]) ** 2 / config[
            "mm_tokens_per_image"
        ]
    else:
        patches = float(vision.get("spatial_merge_size", 2) ** 2)
    return EncoderShape(
        hidden=hidden,
        intermediate=vision.get("intermediate_size") or 4 * hidden,
        patches_per_token=patches,
    )
