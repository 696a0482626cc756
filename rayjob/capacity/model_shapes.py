"""What sizing must know of a model: its decoder's shape and the size of its weights.

Weights are counted from the headers of the safetensors files, wherever these are. The
published models are shipped as shapes and sizes, so that they are sized without a network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
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

_OTHER_CACHES = {"kv_lora_rank", "layers_block_type", "num_kv_shared_layers"}
"""Settings of decoders whose cache is smaller than keys and values of all layers."""

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


def load_shape(
    model: str,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    storage: StorageOptions = _USUAL_STORAGE,
) -> ModelShape:
    """The shape of a checkpoint in a folder or a storage, a published model, or any on the hub.

    Args:
        model: folder, address or hub name.
        dtype: the engine's setting of that name.
        storage: how to reach the storage.

    Raises:
        ModelError: the model cannot be read, or is of a kind that cannot be sized.
    """
    tensors: Iterable[Tensor]
    if is_stored(model) or Path(model).is_dir():
        tensors = _weights(model, storage)
    elif model in _published():
        tensors = [Tensor("all", "BF16", _published()[model]["parameters"])]
    else:
        tensors = _weights_on_hub(model, revision)
    config = model_config(model, revision=revision, storage=storage)
    return shape_of(model, config, tensors=tensors, dtype=dtype)


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
    kinds_of_layers = set(text.get("layer_types") or ())
    if _OTHER_CACHES & text.keys() or len(kinds_of_layers) > 1 or _slides(text):
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


def _slides(text: Mapping[str, Any]) -> bool:
    """Whether layers look back less far than the context, whichever they are: Gemma 3 leaves that
    to the code that reads its configuration.
    """
    window = text.get("sliding_window")
    if not isinstance(window, int) or text.get("use_sliding_window") is False:
        return False
    return window < float(text.get("max_position_embeddings") or math.inf)


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
