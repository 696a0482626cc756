"""How many requests fit a GPU: weights, working memory and KV cache, from a model's shape.

The formulas are in docs/plan.md. Memory is in bytes; a GB is 10**9 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from rayjob.capacity.engine_spec import MEMORY_SHARE, EngineSpec
from rayjob.capacity.model_shapes import ModelShape, load_shape
from schemas.errors import ConfigError

GB = 10**9

FRACTIONS = (0.25, 0.5, 1.0)
TENSOR_PARALLEL = (2.0, 4.0, 8.0)

_BLOCK_TOKENS = 16
"""Tokens in one block of the KV cache: vLLM's default on GPUs."""

_STEPS_IN_FLIGHT = 2
"""Steps that vLLM schedules ahead: a layer with a window keeps their tokens beside it."""

_ALIKE = 1.5
"""Groups of layers are as large as the largest where no kind has so many times another's layers."""

_ENOUGH_SEQUENCES = 8
"""With fewer in flight a GPU reads its weights for little work: then several GPUs share them."""

_CONTEXT_BYTES = 1_000_000_000
"""Allowance for what PyTorch does not allocate: CUDA's context, its libraries' work space."""

_GRAPH_BYTES = 500_000_000
"""Allowance for captured CUDA graphs; none with ``enforce_eager``."""

_COMMUNICATION_BYTES = 500_000_000
"""Allowance for the buffers of tensor parallelism."""

_SAMPLER_BYTES_PER_LOGIT = 20
"""Logits in float32, their probabilities and the sort behind top-p, of one request and token."""

_ACCELERATOR_GB = {
    "T4": 16.0, "A10G": 24.0, "L4": 24.0, "L40S": 48.0, "A100-40G": 40.0, "A100-80G": 80.0,
    "H100": 80.0, "H20": 96.0, "H200": 141.0, "B200": 180.0, "RTX-PRO-6000": 96.0,
}  # fmt: skip
"""Memory of the accelerators that Ray names, where the name settles it: an A100 has 40 or 80."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One engine on its share of a GPU, or on several. All sizes per GPU, in bytes.

    Attributes:
        gpu_bytes: memory of one GPU.
    """

    model: ModelShape
    spec: EngineSpec
    gpu_bytes: float

    @property
    def gpus(self) -> float:
        """GPUs of the engine, a fraction of one or a whole number."""
        return self.spec.gpus_per_engine

    def on(self, gpus: float) -> Fit:
        """The same engine on another number of GPUs."""
        return replace(self, spec=self.spec.model_copy(update={"gpus_per_engine": gpus}))

    @property
    def splits(self) -> bool:
        """Whether so many GPUs can share the model."""
        return self.model.splits(self.spec.tensor_parallel)

    @property
    def budget(self) -> int:
        """What the engine may fill of one GPU."""
        return int(self.spec.memory_share * self.gpu_bytes)

    @property
    def weights(self) -> int:
        """The engine's part of the weights."""
        return math.ceil(self.model.weight_bytes / self.spec.tensor_parallel)

    @cached_property
    def overhead(self) -> int:
        """Everything but weights and KV cache: the runtime, and the largest step's activations."""
        runtime = _CONTEXT_BYTES
        if not self.spec.enforce_eager:
            runtime += _GRAPH_BYTES
        if self.spec.tensor_parallel > 1:
            runtime += _COMMUNICATION_BYTES
        return runtime + max(self._decoder_activations(), self._encoder_activations())

    def _decoder_activations(self) -> int:
        model, tp = self.model, self.spec.tensor_parallel
        per_token = (4 * model.hidden + 3 * math.ceil(model.intermediate / tp)) * model.item_bytes
        logits = self.spec.max_num_seqs * model.vocab * _SAMPLER_BYTES_PER_LOGIT
        return self.spec.batched_tokens * per_token + logits

    def _encoder_activations(self) -> int:
        encoder = self.model.encoder
        if encoder is None or self.spec.plan is None:
            return 0
        # vLLM tries itself out, when it starts, on the largest video that the context holds, and
        # on several where a step computes more tokens.
        tokens = max(self.spec.max_model_len, self.spec.batched_tokens)
        patches = tokens * encoder.patches_per_token
        width = 6 * encoder.hidden + 3 * math.ceil(encoder.intermediate / self.spec.tensor_parallel)
        return int(patches * width * self.model.item_bytes)

    @property
    def kv_cache(self) -> int:
        """What is left for keys and values; negative where already the weights do not fit."""
        return self.budget - self.weights - self.overhead

    @property
    def kv_per_sequence(self) -> int:
        """The KV cache of one sequence as long as the context.

        Follows vLLM's ``get_kv_cache_groups`` and ``SlidingWindowSpec``: layers of each kind form
        groups of one size, the last one filled up, and all groups take blocks from one pool.
        """
        model, spec = self.model, self.spec
        size = int(spec.vllm_args.get("block_size") or _BLOCK_TOKENS)
        kept = model.window - 1 + _STEPS_IN_FLIGHT * spec.batched_tokens
        kinds = [
            (model.layers, math.ceil(spec.max_model_len / size)),
            # A window may begin inside of a block.
            (model.sliding_layers, math.ceil(min(kept, spec.max_model_len) / size) + 1),
        ]
        counts = [layers for layers, _ in kinds if layers]
        together = max(counts) if max(counts) < _ALIKE * min(counts) else min(counts)
        blocks = sum(math.ceil(layers / together) * each for layers, each in kinds)
        per_token = model.layer_bytes_per_token(
            tensor_parallel=spec.tensor_parallel, item_bytes=spec.kv_item_bytes
        )
        return blocks * together * size * per_token

    @property
    def sequences(self) -> int:
        """Sequences of full length in flight on the engine; none where its GPUs cannot share it."""
        if not self.splits:
            return 0
        return max(0, min(self.spec.max_num_seqs, self.kv_cache // self.kv_per_sequence))

    @property
    def engines_per_gpu(self) -> float:
        """Engines on one GPU; below 1 where an engine takes several."""
        return math.floor(1 / self.gpus + 1e-9) if self.gpus <= 1 else 1 / self.gpus

    @property
    def sequences_per_gpu(self) -> float:
        """Sequences in flight on one GPU, all its engines together."""
        return self.sequences * self.engines_per_gpu


def shape_for(spec: EngineSpec) -> ModelShape:
    """The shape of an engine's model as the engine loads it.

    Raises:
        ModelError: the model's shape cannot be had, or changes while it is loaded.
    """
    return load_shape(
        spec.model,
        revision=spec.revision,
        dtype=spec.dtype,
        quantization=spec.vllm_args.get("quantization"),
        storage=spec.storage,
    )


def fits_of(
    model: ModelShape, spec: EngineSpec, *, gpu_gb: float, gpus: Iterable[float] | None = None
) -> list[Fit]:
    """The ways to place an engine on GPUs of one size.

    Args:
        gpu_gb: memory of one GPU in GB.
        gpus: GPUs per engine to look at; by default a quarter, a half and all of one, and
            while none of these holds enough sequences to batch, two, four and eight.
    """
    fit = Fit(model=model, spec=spec, gpu_bytes=gpu_gb * GB)
    if gpus is not None:
        return [fit.on(each) for each in gpus]
    found = [fit.on(each) for each in FRACTIONS]
    for wider in map(fit.on, TENSOR_PARALLEL):
        if any(each.sequences >= _ENOUGH_SEQUENCES for each in found):
            break
        if wider.splits:
            found.append(wider)
    return found


def best(fits: Sequence[Fit]) -> Fit | None:
    """The one with the most sequences in flight per GPU; of equals the one with fewest engines."""
    fitting = [fit for fit in fits if fit.sequences]
    return max(fitting, key=lambda fit: (fit.sequences_per_gpu, fit.gpus), default=None)


def known_gpu_gb(gpu_types: Iterable[str]) -> float | None:
    """Memory of the smallest GPU of a cluster, in GB.

    Args:
        gpu_types: accelerator types as Ray names them (``accelerator_type:L4`` without the
            prefix).

    Returns:
        None without a type, or where one is unknown or does not settle the size.
    """
    types = set(gpu_types)
    if types & {"A100-40G", "A100-80G"}:
        types.discard("A100")
    sizes = [_ACCELERATOR_GB.get(each) for each in types]
    known = [size for size in sizes if size is not None]
    return min(known) if known and len(known) == len(sizes) else None


def check_memory(spec: EngineSpec, *, gpu_gb: float | None) -> int | None:
    """The KV cache of an engine on its share of a GPU.

    Args:
        gpu_gb: memory of one GPU in GB. Where it is unknown, all that is checked is whether
            several GPUs can share the model.

    Returns:
        bytes per GPU; None to let vLLM measure, as it does for an engine alone on its GPUs: it
        knows better than an estimate.

    Raises:
        ConfigError: weights and one sequence do not fit, or the GPUs cannot share the model;
            says what to change.
        ModelError: the model's shape cannot be had.
    """
    if gpu_gb is None and spec.gpus_per_engine <= 1:
        return spec.kv_cache_bytes
    model = shape_for(spec)
    fit = Fit(model=model, spec=spec, gpu_bytes=(gpu_gb or 0.0) * GB)
    if not fit.splits:
        raise ConfigError(
            f"{model.name} cannot be spread over {fit.gpus:g} GPUs, which would share "
            f"{model.heads} attention heads and {model.kv_heads} KV heads unevenly: choose another "
            "--gpus-per-engine, such as 1, 2 or 4"
        )
    if gpu_gb is None:
        return spec.kv_cache_bytes
    wanted = spec.kv_cache_bytes or fit.kv_per_sequence
    if wanted < fit.kv_per_sequence:
        raise ConfigError(
            f"engine.kv_cache_bytes: {wanted / GB:.2f} GB do not hold a sequence of "
            f"{spec.max_model_len} tokens, which takes {fit.kv_per_sequence / GB:.2f} GB: raise "
            "it, or lower engine.max_model_len"
        )
    if fit.kv_cache < wanted:
        raise ConfigError(_why_not(fit, wanted))
    return fit.kv_cache if fit.gpus < 1 and spec.kv_cache_bytes is None else spec.kv_cache_bytes


def _why_not(fit: Fit, wanted: int) -> str:
    if fit.gpus > 1:
        part = f"each of {fit.gpus:g} GPUs"
    else:
        part = "a GPU" if fit.gpus == 1 else f"{fit.gpus:g} of a GPU"
    needed = fit.weights + fit.overhead + wanted
    changes = []
    if fit.gpus < 1 and fit.on(1.0).kv_cache >= wanted:
        share = needed / (MEMORY_SHARE * fit.gpu_bytes)
        changes.append(f"raise --gpus-per-engine to at least {math.ceil(share * 100) / 100:g}")
    else:
        wider = (each for each in TENSOR_PARALLEL if each > fit.gpus)
        more = next((each for each in wider if fit.on(each).splits), None)
        if more is not None:
            changes.append(f"spread the engine over several GPUs (--gpus-per-engine {more:g})")
        changes.append("take GPUs with more memory")
    if fit.weights < fit.budget:
        changes.append("lower engine.max_model_len")
    return (
        f"{fit.model.name} does not fit {part} of {fit.gpu_bytes / GB:g} GB: of the "
        f"{fit.budget / GB:.1f} GB that an engine may fill, weights take "
        f"{fit.weights / GB:.1f} GB, the runtime {fit.overhead / GB:.1f} GB, and the KV cache "
        f"needs {wanted / GB:.1f} GB for sequences of {fit.spec.max_model_len} tokens. "
        f"To change that, {', or '.join(changes)}. 'rayjob plan' shows what fits"
    )
