"""One engine, with nothing left open: how it is fed, what it holds, what vLLM is told."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

from actors.engine.loading import check_arguments
from rayjob.recipes.base import BaseRecipe
from schemas.config import EngineConfig
from schemas.errors import ConfigError
from schemas.media import SamplingPlan, StorageOptions

MEMORY_SHARE = 0.9
"""Share of its part of the GPU's memory that an engine may fill."""

BATCHED_TOKENS = 8192
"""Tokens that one step of an engine on GPUs computes at most: vLLM's default for work offline."""

_USUAL_STORAGE = StorageOptions()

_NOT_BY_VLLM_ARGS = {
    **{name: f"set engine.{name}" for name in EngineConfig.model_fields},
    "tensor_parallel_size": "set engine.gpus_per_engine",
    "gpu_memory_utilization": "set engine.gpus_per_engine, from which the share of the memory "
    "follows, or engine.kv_cache_bytes",
    "kv_cache_memory_bytes": "set engine.kv_cache_bytes",
    "interleave_mm_strings": "the job sets it where frames go to a model as images",
    "limit_mm_per_prompt": "the job sets it by recipe.plan",
    "enable_prefix_caching": "the job sets it by recipe.plan: with sound, vLLM would answer "
    "equal frames with the sound of an earlier video",
    "stream_interval": "pieces of answers are the engine's signs of life",
    "mm_processor_cache_gb": "the job keeps this cache off: it fails where a sound it holds "
    "meets another video",
}
"""Fields of ``vllm.AsyncEngineArgs`` that are not the user's to set, with what to do instead."""


class EngineSpec(EngineConfig):
    """An engine's configuration with all that it left open filled in.

    Attributes:
        follows_queue: the number of videos in flight is left to the engine's queue.
        plan: how videos are sampled; None for work on texts alone.
        storage: how a model is reached that lies in one.
    """

    model: str
    max_model_len: int
    max_num_seqs: int
    videos_in_flight: int
    follows_queue: bool
    plan: SamplingPlan | None
    storage: StorageOptions

    @property
    def has_sound(self) -> bool:
        """Whether requests hold sound."""
        return self.plan is not None and self.plan.audio_rate is not None

    @property
    def memory_share(self) -> float:
        """What the engine may fill of the memory of each of its GPUs."""
        return round(MEMORY_SHARE * min(self.gpus_per_engine, 1.0), 4)

    @property
    def tensor_parallel(self) -> int:
        """GPUs that hold one copy of the weights."""
        return max(1, int(self.gpus_per_engine))

    @property
    def batched_tokens(self) -> int:
        """Tokens that one step computes at most, or one prompt on CPUs."""
        return int(self.vllm_args.get("max_num_batched_tokens") or BATCHED_TOKENS)

    @property
    def kv_item_bytes(self) -> int | None:
        """Bytes of one entry of the KV cache, None for the model's own type."""
        fp8 = str(self.vllm_args.get("kv_cache_dtype", "auto")).startswith("fp8")
        return 1 if fp8 else None

    def arguments(self, *, on_gpu: bool, kv_cache_bytes: int | None) -> dict[str, Any]:
        """Fields of ``vllm.AsyncEngineArgs``, beside the model and its revision.

        Args:
            kv_cache_bytes: size of the KV cache, None to let vLLM measure.

        Raises:
            ConfigError: this vLLM does not know one of ``vllm_args``.
        """
        pictures = int(self.plan is not None)
        args: dict[str, Any] = {
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.max_num_seqs,
            # A request shows one clip; vLLM sets no memory aside for what is 0.
            "limit_mm_per_prompt": {
                "image": pictures,
                "video": pictures,
                "audio": int(self.has_sound),
            },
            "mm_processor_kwargs": self.mm_processor_kwargs or None,
            "dtype": self.dtype,
            "load_format": self.load_format,
            "trust_remote_code": bool(self.trust_remote_code),
            "reasoning_parser": self.reasoning_parser or "",
            "enforce_eager": self.enforce_eager or not on_gpu,
            "disable_log_stats": True,
            # Tokens between two signs of life of an answer.
            "stream_interval": 32,
            # vLLM's block hash leaves out the second modality of an interleaved placeholder:
            # with prefix caching, equal frames with another sound are answered with the
            # earlier sound. See docs/engine.md.
            "enable_prefix_caching": not self.has_sound,
            # Its cache of processed media fails where a cached sound meets a new video.
            "mm_processor_cache_gb": 0,
        }
        if on_gpu:
            # vLLM's own choice is 2,048, for answers that appear word by word; here prompts of
            # thousands of tokens should be computed soon.
            args["max_num_batched_tokens"] = self.batched_tokens
            args["gpu_memory_utilization"] = self.memory_share
            args["tensor_parallel_size"] = self.tensor_parallel
        elif "max_num_batched_tokens" not in self.vllm_args:
            # Where a prompt is computed in pieces, a request with a seed ends vLLM's engine on
            # CPUs. See docs/engine.md.
            args["enable_chunked_prefill"] = False
            args["max_num_batched_tokens"] = max(self.batched_tokens, self.max_model_len)
        if kv_cache_bytes is not None:
            args["kv_cache_memory_bytes"] = kv_cache_bytes
        # A head node may have no vLLM; the engine looks at them as well.
        if self.vllm_args and importlib.util.find_spec("vllm") is not None:
            check_arguments(self.vllm_args)
        return args | self.vllm_args


def engine_spec(
    config: EngineConfig,
    *,
    plan: SamplingPlan | None,
    model: str,
    max_model_len: int,
    max_num_seqs: int,
    requests_per_video: int = 1,
    storage: StorageOptions = _USUAL_STORAGE,
) -> EngineSpec:
    """Fill in what a configuration leaves open.

    Args:
        plan: of the recipe as it was made, which may have changed the configured one.
        model, max_model_len, max_num_seqs: where the configuration names none.
        requests_per_video: requests that one video has in the engine at once, about.
        storage: see :class:`EngineSpec`.

    Raises:
        ConfigError: ``vllm_args`` repeat a setting, or one that counts here is not a number.
    """
    _check_vllm_args(config.vllm_args)
    batch = config.max_num_seqs or max_num_seqs
    filled = {
        "model": config.model or model,
        "max_model_len": config.max_model_len or max_model_len,
        "max_num_seqs": batch,
        # To begin with, a quarter more than fits the batch (see actors.tuning).
        "videos_in_flight": config.videos_in_flight or math.ceil(batch * 1.25 / requests_per_video),
        "follows_queue": config.videos_in_flight is None,
        "plan": plan,
        "storage": storage,
    }
    return EngineSpec(**config.model_dump(exclude_unset=True) | filled)


def recipe_engine(
    config: EngineConfig, recipe: BaseRecipe, *, storage: StorageOptions = _USUAL_STORAGE
) -> EngineSpec:
    """The engine of a recipe as a run makes it. See :func:`engine_spec` for what is raised."""
    if config.trust_remote_code is None and recipe.model == type(recipe).model:
        config = config.model_copy(update={"trust_remote_code": type(recipe).trust_remote_code})
    return engine_spec(
        config,
        plan=recipe.plan,
        model=recipe.model,
        max_model_len=recipe.max_model_len,
        max_num_seqs=recipe.max_num_seqs,
        requests_per_video=recipe.requests_per_video,
        storage=storage,
    )


def _check_vllm_args(args: dict[str, Any]) -> None:
    refused = [name for name in args if name in _NOT_BY_VLLM_ARGS]
    if refused:
        raise ConfigError(
            "\n".join(f"engine.vllm_args.{name}: {_NOT_BY_VLLM_ARGS[name]}" for name in refused)
        )
    tokens = args.get("max_num_batched_tokens", 1)
    if not (isinstance(tokens, int | float) and 0 < tokens < math.inf):
        raise ConfigError(
            f"engine.vllm_args.max_num_batched_tokens: {tokens!r} is not a number above 0"
        )
