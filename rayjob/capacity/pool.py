"""The pool of engines: how many, with which share of which device, started how."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from actors.engine.vllm_engine import EngineSettings
from rayjob.capacity.model_shapes import load_shape
from rayjob.capacity.placement import gpu_shares
from rayjob.capacity.sizing import (
    BATCHED_TOKENS,
    GB,
    MEMORY_SHARE,
    EngineLoad,
    Fit,
    check_fit,
    check_split,
    engine_load,
    known_gpu_gb,
)
from rayjob.recipes.base import BaseRecipe
from schemas.config import EngineConfig
from schemas.errors import ConfigError, ModelError
from schemas.media import SamplingPlan

logger = logging.getLogger(__name__)

_CPU_KV_CACHE_BYTES = 256 << 20


NO_MEDIA = {"image": 0, "video": 0, "audio": 0}
"""What vLLM sets no memory aside for."""


@dataclass(frozen=True, kw_only=True)
class EnginePool:
    """How many replicas there are, and what each asks of Ray.

    Attributes:
        replicas, min_replicas: engines in the pool, at most and at least.
        gpus, cpus: Ray resources of one replica.
        videos_in_flight: videos that one replica works on at once.
    """

    settings: EngineSettings
    replicas: int
    min_replicas: int
    gpus: float
    cpus: float
    videos_in_flight: int

    @property
    def total_gpus(self) -> float:
        """GPUs that the pool holds."""
        return self.replicas * self.gpus

    def describe(self) -> str:
        """One line for a person."""
        plural = "" if self.replicas == 1 else "s"
        share = f", {self.gpus:g} GPU each" if self.gpus else ""
        device = "" if self.settings.on_gpu else ", on the CPU"
        least = f"{self.min_replicas} to " if self.min_replicas < self.replicas else ""
        return f"{least}{self.replicas} engine{plural} of {self.settings.model}{share}{device}"


def engine_pool(
    config: EngineConfig,
    defaults: type[BaseRecipe],
    *,
    plan: SamplingPlan | None,
    cluster_gpus: float,
    gpu_types: Collection[str] = (),
    nodes: Collection[Mapping[str, float]] = (),
) -> EnginePool:
    """Turn a configuration into a pool.

    Fractions: ``gpus_per_engine`` sets the Ray resource and the memory share together;
    engines on one GPU start one after the other (see :mod:`actors.engine.vllm_engine`). With the
    device "cpu" and ``gpus_per_engine`` set, Ray is asked for that share all the same: a
    rehearsal of a GPU cluster on machines without.

    Args:
        gpu_types: accelerator types of the cluster's GPUs, as Ray names them; they tell the
            GPUs' memory where the configuration does not.
        nodes: what each node offers, by Ray's names; by default one has all GPUs.

    Raises:
        ConfigError: the nodes have fewer GPUs than the pool asks for, an engine's share of
            a GPU cannot hold the model and one sequence, or this vLLM does not know an
            argument.
    """
    on_gpu = _runs_on_gpu(config, cluster_gpus)
    model = config.model or defaults.model
    gpus = gpus_asked(config, cluster_gpus=cluster_gpus)
    node_gpus = [node.get("GPU", 0.0) for node in nodes] or [cluster_gpus]
    fitting = sum(gpu_shares(each, gpus) for each in node_gpus) if gpus else 1
    replicas = config.engines or max(1, fitting)
    if gpus and not config.autoscale and fitting < replicas:
        raise ConfigError(
            f"{replicas} engines with {gpus:g} GPU each do not fit the {cluster_gpus:g} GPUs "
            f"of the cluster, {max(node_gpus):g} on a node at most: lower --engines or "
            "--gpus-per-engine, add GPU nodes, or set engine.autoscale where the cluster adds them "
            "by itself"
        )
    max_num_seqs = config.max_num_seqs or defaults.max_num_seqs
    load = engine_load(config, defaults)
    kv_cache_bytes = config.kv_cache_bytes
    if on_gpu:
        gpu_gb = config.gpu_memory_gb or known_gpu_gb(gpu_types)
        kv_cache_bytes = _gpu_kv_cache_bytes(config, load, model=model, gpu_gb=gpu_gb)
    elif kv_cache_bytes is None:
        kv_cache_bytes = _CPU_KV_CACHE_BYTES
    settings = EngineSettings(
        model=model,
        base_dir=os.getcwd(),
        revision=config.revision,
        on_gpu=on_gpu,
        args=_engine_args(
            config, defaults, plan=plan, on_gpu=on_gpu, kv_cache_bytes=kv_cache_bytes
        ),
        environment=_environment(on_gpu=on_gpu, local=Path(model).is_dir()),
    )
    return EnginePool(
        settings=settings,
        replicas=replicas,
        min_replicas=config.min_engines or replicas,
        gpus=gpus,
        cpus=config.cpus_per_engine,
        # A quarter more than fits the batch: while those are prepared, the batch is full.
        videos_in_flight=config.videos_in_flight
        or math.ceil(max_num_seqs * 1.25 / defaults.requests_per_video),
    )


def gpus_asked(config: EngineConfig, *, cluster_gpus: float) -> float:
    """GPUs that Ray is asked for with each engine; 0 where it runs on the CPU.

    Raises:
        ConfigError: GPUs are asked for, of a cluster that has none.
    """
    if _runs_on_gpu(config, cluster_gpus):
        return config.gpus_per_engine
    if "gpus_per_engine" not in config.model_fields_set:
        return 0.0
    if config.device == "auto":
        raise ConfigError(
            f"engines ask for {config.gpus_per_engine:g} GPU each, and the cluster has none: set "
            "engine.device=gpu and engine.autoscale where it adds GPU nodes by itself, or "
            "engine.device=cpu to rehearse without GPUs, or leave out --gpus-per-engine "
            "(engine.gpus_per_engine) to run on the CPU"
        )
    return config.gpus_per_engine


def _runs_on_gpu(config: EngineConfig, cluster_gpus: float) -> bool:
    return config.device == "gpu" or (config.device == "auto" and cluster_gpus > 0)


def _has_sound(plan: SamplingPlan | None) -> bool:
    return plan is not None and plan.audio_rate is not None


def _gpu_kv_cache_bytes(
    config: EngineConfig, load: EngineLoad, *, model: str, gpu_gb: float | None
) -> int | None:
    """The KV cache of an engine on its share of a GPU, None to let vLLM measure.

    Raises:
        ConfigError: weights and one sequence do not fit, or so many GPUs cannot share the model.
    """
    if gpu_gb is None and config.gpus_per_engine <= 1:
        return config.kv_cache_bytes
    try:
        shape = load_shape(model, revision=config.revision, dtype=config.dtype)
    except ModelError as error:
        logger.info("not checked whether an engine fits its share of a GPU: %s", error)
        return config.kv_cache_bytes
    check_split(shape, gpus=config.gpus_per_engine)
    if gpu_gb is None:
        return config.kv_cache_bytes
    fit = Fit(
        model=shape,
        load=load,
        gpu_bytes=gpu_gb * GB,
        gpus=config.gpus_per_engine,
    )
    size = check_fit(fit, kv_cache_bytes=config.kv_cache_bytes)
    # An engine alone on its GPUs is measured by vLLM, which knows better than an estimate.
    return size if config.gpus_per_engine < 1 else config.kv_cache_bytes


def _engine_args(
    config: EngineConfig,
    defaults: type[BaseRecipe],
    *,
    plan: SamplingPlan | None,
    on_gpu: bool,
    kv_cache_bytes: int | None,
) -> dict[str, Any]:
    args: dict[str, Any] = {
        "max_model_len": config.max_model_len or defaults.max_model_len,
        "max_num_seqs": config.max_num_seqs or defaults.max_num_seqs,
        "limit_mm_per_prompt": _media_limits(plan),
        "mm_processor_kwargs": config.mm_processor_kwargs or None,
        "dtype": config.dtype,
        "load_format": config.load_format,
        "trust_remote_code": config.trust_remote_code,
        "enforce_eager": config.enforce_eager or not on_gpu,
        "disable_log_stats": True,
        # vLLM's block hash leaves out the second modality of an interleaved placeholder:
        # with prefix caching, equal frames with another sound are answered with the
        # earlier sound. See docs/engine.md.
        "enable_prefix_caching": not _has_sound(plan),
        # Its cache of processed media fails where a cached sound meets a new video.
        "mm_processor_cache_gb": 0,
    }
    if on_gpu:
        # vLLM's own choice is 2,048, for answers that appear word by word; here prompts of
        # thousands of tokens should be computed soon.
        args["max_num_batched_tokens"] = BATCHED_TOKENS
        args["gpu_memory_utilization"] = round(MEMORY_SHARE * min(config.gpus_per_engine, 1.0), 4)
        if config.gpus_per_engine > 1:
            args["tensor_parallel_size"] = int(config.gpus_per_engine)
    if kv_cache_bytes is not None:
        args["kv_cache_memory_bytes"] = kv_cache_bytes
    return args | _checked(config.vllm_args)


def _media_limits(plan: SamplingPlan | None) -> dict[str, int]:
    """How many items of each kind one request holds."""
    shown = {} if plan is None else {"image": 1, "video": 1, "audio": int(_has_sound(plan))}
    return NO_MEDIA | shown


def _checked(vllm_args: dict[str, Any]) -> dict[str, Any]:
    if vllm_args:
        from vllm import AsyncEngineArgs

        unknown = set(vllm_args) - {field.name for field in fields(AsyncEngineArgs)}
        if unknown:
            raise ConfigError(
                f"engine.vllm_args: this vLLM has no {', '.join(sorted(unknown))}; "
                "the names are the fields of vllm.AsyncEngineArgs"
            )
    return vllm_args


def _environment(*, on_gpu: bool, local: bool) -> dict[str, str]:
    environment = {
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if local:
        environment["HF_HUB_OFFLINE"] = "1"
    if not on_gpu:
        # On the CPU vLLM would give the model a process of its own beside the scheduler's, and
        # the two wait for each other in busy loops.
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return environment


def check_model(model: str, config: EngineConfig) -> None:
    """See that a model is there before any actor starts.

    Raises:
        ModelError: it is not.
    """
    hint = (
        "Pass --model with a checkpoint folder or a hub name; download one with "
        f"'hf download {model} --local-dir DIR'. The small embedded model runs with "
        "--config configs/demo.yaml."
    )
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(f"the folder {model} holds no checkpoint (no config.json). {hint}")
        weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
        if not weights and config.load_format != "dummy":
            raise ModelError(f"the checkpoint {model} has no weights (*.safetensors). {hint}")
        return
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ModelError(f"there is no folder {model}. {hint}")
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(model, "config.json", revision=config.revision, etag_timeout=10)
    except Exception as error:
        # The hub's client raises many kinds for "not there", "not allowed" and "offline".
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(
            f"the model {model} is neither a folder nor to be had from the hub: {reason} {hint}"
        ) from error


def model_revision(model: str, revision: str | None) -> str | None:
    """What identifies the weights in every row.

    The configured revision; for a local folder 16 hex digits of the SHA-256 of its
    configuration and the names and sizes of its files.
    """
    folder = Path(model)
    if revision is not None or not folder.is_dir():
        return revision
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(f"{path.name}:{path.stat().st_size}".encode())
    return digest.hexdigest()[:16]
