"""How many requests fit a GPU: weights, working memory and KV cache, from a model's shape.

The formulas are in docs/plan.md. Memory is in bytes; a GB is 10**9 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from rayjob.capacity.model_shapes import ModelShape
from rayjob.recipes.base import BaseRecipe
from schemas.config import EngineConfig
from schemas.errors import ConfigError

GB = 10**9

MEMORY_SHARE = 0.9
"""Share of its part of the GPU's memory that an engine may fill."""

BATCHED_TOKENS = 8192
"""Tokens that one step of an engine on GPUs computes at most: vLLM's default for work offline."""

FRACTIONS = (0.25, 0.5, 1.0)
TENSOR_PARALLEL = (2.0, 4.0, 8.0)

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
class EngineLoad:
    """What an engine is asked to hold at once.

    Attributes:
        context: tokens of one sequence at most, prompt and answer.
        max_num_seqs: sequences that an engine batches.
        batched_tokens: tokens that one step computes at most.
        kv_item_bytes: of one cache entry, None for the model's own type.
        media: whether prompts hold pictures, videos or sound.
        block_tokens: tokens in one block of the KV cache.
        memory_share: of a GPU's memory, where the configuration gives it outright.
    """

    context: int
    max_num_seqs: int
    batched_tokens: int = BATCHED_TOKENS
    kv_item_bytes: int | None = None
    enforce_eager: bool = False
    media: bool = True
    block_tokens: int = 16
    memory_share: float | None = None


def engines_per_gpu(gpus: float) -> float:
    """Engines on one GPU; below 1 where each takes several."""
    return math.floor(1 / gpus + 1e-9) if gpus <= 1 else 1 / gpus


def engine_load(config: EngineConfig, defaults: type[BaseRecipe]) -> EngineLoad:
    """What a configured engine is asked to hold.

    Raises:
        ConfigError: an argument of vLLM that counts here is no number, or together the engines
            on a GPU may fill more than there is.
    """
    args = config.vllm_args
    for name in ("max_num_batched_tokens", "gpu_memory_utilization"):
        value = args.get(name)
        if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
            raise ConfigError(f"engine.vllm_args.{name}: {value!r} is no number above 0")
    share, engines = args.get("gpu_memory_utilization"), engines_per_gpu(config.gpus_per_engine)
    if share is not None and config.device != "cpu" and share * engines > 1:
        raise ConfigError(
            f"engine.vllm_args.gpu_memory_utilization: {engines:g} engines share a GPU, and "
            f"{share} of it for each is more than there is. Leave it out, and each gets "
            f"{MEMORY_SHARE * config.gpus_per_engine:g}"
        )
    fp8 = str(args.get("kv_cache_dtype", "auto")).startswith("fp8")
    return EngineLoad(
        context=config.max_model_len or defaults.max_model_len,
        max_num_seqs=config.max_num_seqs or defaults.max_num_seqs,
        batched_tokens=int(args.get("max_num_batched_tokens") or BATCHED_TOKENS),
        kv_item_bytes=1 if fp8 else None,
        enforce_eager=config.enforce_eager,
        memory_share=args.get("gpu_memory_utilization"),
        media=defaults.plan is not None,
    )


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One engine on its share of a GPU, or on several. All sizes per GPU, in bytes.

    Attributes:
        gpu_bytes: memory of one GPU.
        gpus: GPUs of the engine, a fraction of one or a whole number.
    """

    model: ModelShape
    load: EngineLoad
    gpu_bytes: float
    gpus: float

    @property
    def tensor_parallel(self) -> int:
        """GPUs that hold one copy of the weights."""
        return max(1, int(self.gpus))

    @property
    def splits(self) -> bool:
        """Whether so many GPUs can share the model."""
        return self.model.splits(self.tensor_parallel)

    @property
    def oversold(self) -> bool:
        """Whether together the engines on a GPU may fill more than there is."""
        return (self.load.memory_share or 0.0) * self.engines_per_gpu > 1

    @property
    def budget(self) -> int:
        """What the engine may fill of one GPU."""
        share = self.load.memory_share or MEMORY_SHARE * min(self.gpus, 1.0)
        return int(share * self.gpu_bytes)

    @property
    def weights(self) -> int:
        """The engine's part of the weights."""
        return math.ceil(self.model.weight_bytes / self.tensor_parallel)

    @cached_property
    def overhead(self) -> int:
        """Everything but weights and KV cache: the runtime, and the largest step's activations."""
        runtime = _CONTEXT_BYTES
        if not self.load.enforce_eager:
            runtime += _GRAPH_BYTES
        if self.tensor_parallel > 1:
            runtime += _COMMUNICATION_BYTES
        return runtime + max(self._decoder_activations(), self._encoder_activations())

    def _decoder_activations(self) -> int:
        model, tp = self.model, self.tensor_parallel
        per_token = (4 * model.hidden + 3 * math.ceil(model.intermediate / tp)) * model.item_bytes
        logits = self.load.max_num_seqs * model.vocab * _SAMPLER_BYTES_PER_LOGIT
        return self.load.batched_tokens * per_token + logits

    def _encoder_activations(self) -> int:
        encoder = self.model.encoder
        if encoder is None or not self.load.media:
            return 0
        # vLLM tries itself out, when it starts, on the largest video that the context holds, and
        # on several where a step computes more tokens.
        tokens = max(self.load.context, self.load.batched_tokens)
        patches = tokens * encoder.patches_per_token
        width = 6 * encoder.hidden + 3 * math.ceil(encoder.intermediate / self.tensor_parallel)
        return int(patches * width * self.model.item_bytes)

    @property
    def kv_cache(self) -> int:
        """What is left for keys and values; negative where already the weights do not fit."""
        return self.budget - self.weights - self.overhead

    @property
    def block(self) -> int:
        """One block of the KV cache."""
        per_token = self.model.kv_bytes_per_token(
            tensor_parallel=self.tensor_parallel, item_bytes=self.load.kv_item_bytes
        )
        return per_token * self.load.block_tokens

    @property
    def kv_per_sequence(self) -> int:
        """The KV cache of one sequence as long as the context."""
        return math.ceil(self.load.context / self.load.block_tokens) * self.block

    @property
    def sequences(self) -> int:
        """Sequences of full length in flight on the engine; none where its GPUs cannot share it."""
        if self.oversold or not self.splits:
            return 0
        return max(0, min(self.load.max_num_seqs, self.kv_cache // self.kv_per_sequence))

    @property
    def fits(self) -> bool:
        """Whether at least one sequence fits."""
        return self.sequences > 0

    @property
    def engines_per_gpu(self) -> float:
        """Engines on one GPU; below 1 where an engine takes several."""
        return engines_per_gpu(self.gpus)

    @property
    def sequences_per_gpu(self) -> float:
        """Sequences in flight on one GPU, all its engines together."""
        return self.sequences * self.engines_per_gpu


def kv_cache_tokens(model: ModelShape, kv_cache_bytes: int, *, block_tokens: int) -> int:
    """Tokens that a KV cache of a given size holds, in whole blocks, on one GPU."""
    block = model.kv_bytes_per_token() * block_tokens
    return kv_cache_bytes // block * block_tokens


def fits_of(
    model: ModelShape, load: EngineLoad, *, gpu_gb: float, gpus: Iterable[float] | None = None
) -> list[Fit]:
    """The ways to place an engine on GPUs of one size.

    Args:
        gpu_gb: memory of one GPU in GB.
        gpus: GPUs per engine to look at; by default a quarter, a half and all of one, and
            while none of these holds enough sequences to batch, two, four and eight.
    """

    def fit(each: float) -> Fit:
        return Fit(model=model, load=load, gpu_bytes=gpu_gb * GB, gpus=each)

    if gpus is not None:
        return [fit(each) for each in gpus]
    found = [fit(each) for each in FRACTIONS]
    for each in TENSOR_PARALLEL:
        if any(one.sequences >= _ENOUGH_SEQUENCES for one in found):
            break
        if fit(each).splits:
            found.append(fit(each))
    return found


def best(fits: Sequence[Fit]) -> Fit | None:
    """The one with the most sequences in flight per GPU; of equals the one with fewest engines."""
    fitting = [fit for fit in fits if fit.fits]
    return max(fitting, key=lambda fit: (fit.sequences_per_gpu, fit.gpus), default=None)


def known_gpu_gb(gpu_types: Iterable[str]) -> float | None:
    """Memory of the smallest GPU of a cluster, in GB.

    Args:
        gpu_types: accelerator types as Ray names them (``accelerator_type:L4`` without the
            prefix).

    Returns:
        None where a type is unknown, or settles no size, or there is none.
    """
    types = set(gpu_types)
    if types & {"A100-40G", "A100-80G"}:
        types.discard("A100")
    sizes = [_ACCELERATOR_GB.get(each) for each in types]
    known = [size for size in sizes if size is not None]
    return min(known) if known and len(known) == len(sizes) else None


def check_split(model: ModelShape, *, gpus: float) -> None:
    """See that vLLM takes so many GPUs for one engine.

    Raises:
        ConfigError: they cannot share the model's heads evenly.
    """
    if not model.splits(max(1, int(gpus))):
        raise ConfigError(
            f"{model.name} cannot be spread over {gpus:g} GPUs, which would share "
            f"{model.heads} attention heads and {model.kv_heads} KV heads unevenly: take another "
            "--gpus-per-engine, such as 1, 2 or 4"
        )


def check_fit(fit: Fit, *, kv_cache_bytes: int | None = None) -> int:
    """The KV cache that an engine gets.

    Args:
        kv_cache_bytes: as configured, None for all that is left.

    Returns:
        bytes per GPU.

    Raises:
        ConfigError: weights and one sequence do not fit, or the GPUs cannot share the model;
            says what to change.
    """
    check_split(fit.model, gpus=fit.gpus)
    wanted = fit.kv_per_sequence if kv_cache_bytes is None else kv_cache_bytes
    if wanted < fit.kv_per_sequence:
        raise ConfigError(
            f"engine.kv_cache_bytes: {wanted / GB:.2f} GB hold no sequence of "
            f"{fit.load.context} tokens, which takes {fit.kv_per_sequence / GB:.2f} GB: raise "
            "it, or lower engine.max_model_len"
        )
    if fit.kv_cache < wanted:
        raise ConfigError(_why_not(fit, wanted))
    return fit.kv_cache if kv_cache_bytes is None else kv_cache_bytes


def _why_not(fit: Fit, wanted: int) -> str:
    if fit.gpus > 1:
        part = f"each of {fit.gpus:g} GPUs"
    else:
        part = "a GPU" if fit.gpus == 1 else f"{fit.gpus:g} of a GPU"
    needed = fit.weights + fit.overhead + wanted
    changes = []
    alone = Fit(model=fit.model, load=fit.load, gpu_bytes=fit.gpu_bytes, gpus=1.0)
    if fit.gpus < 1 and alone.kv_cache >= wanted:
        share = needed / (MEMORY_SHARE * fit.gpu_bytes)
        changes.append(f"raise --gpus-per-engine to at least {math.ceil(share * 100) / 100:g}")
    else:
        wider = (replace(fit, gpus=each) for each in TENSOR_PARALLEL if each > fit.gpus)
        more = next((each.gpus for each in wider if each.splits), None)
        if more is not None:
            changes.append(f"spread the engine over several GPUs (--gpus-per-engine {more:g})")
        changes.append("take GPUs with more memory")
    if fit.weights < fit.budget:
        changes.append("lower engine.max_model_len")
    return (
        f"{fit.model.name} does not fit {part} of {fit.gpu_bytes / GB:g} GB: of the "
        f"{fit.budget / GB:.1f} GB that an engine may fill, weights take "
        f"{fit.weights / GB:.1f} GB, the runtime {fit.overhead / GB:.1f} GB, and the KV cache "
        f"needs {wanted / GB:.1f} GB for sequences of {fit.load.context} tokens. "
        f"To change that, {', or '.join(changes)}. 'rayjob plan' shows what fits"
    )
