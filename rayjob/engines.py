"""The pool of engines: how many, with which share of which device, started how."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from actors.engine import EngineSettings
from rayjob.recipes.settings import RecipeDefaults
from schemas.config import EngineConfig
from schemas.errors import ConfigError, ModelError
from schemas.media import SamplingPlan

_MEMORY_SHARE = 0.9
"""Share of its part of the GPU's memory that an engine may fill."""

_CPU_KV_CACHE_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class EnginePool:
    """A fixed number of replicas and what each asks of Ray.

    Attributes:
        replicas: engines in the pool.
        gpus, cpus: Ray resources of one replica.
        videos_in_flight: videos that one replica works on at once.
    """

    settings: EngineSettings
    replicas: int
    gpus: float
    cpus: float
    videos_in_flight: int

    @property
    def total_gpus(self) -> float:
        """GPUs that the pool holds."""
        return self.replicas * self.gpus

    def describe(self) -> str:
        """One line for a person."""
        share = f"{self.gpus:g} GPU each" if self.gpus else "on the CPU"
        plural = "" if self.replicas == 1 else "s"
        return f"{self.replicas} engine{plural} of {self.settings.model}, {share}"


def engine_pool(
    config: EngineConfig, defaults: RecipeDefaults, *, plan: SamplingPlan, cluster_gpus: float
) -> EnginePool:
    """Turn a configuration into a pool.

    Fractions: ``gpus_per_engine`` sets the Ray resource and the memory share together;
    engines on one GPU start one after the other (see :mod:`actors.engine`).

    Raises:
        ConfigError: the cluster has fewer GPUs than the pool asks for, or this vLLM does
            not know an argument.
    """
    on_gpu = config.device == "gpu" or (config.device == "auto" and cluster_gpus > 0)
    model = config.model or defaults.model
    gpus = config.gpus_per_engine if on_gpu else 0.0
    replicas = config.engines or (_fitting(cluster_gpus, gpus) if on_gpu else 1)
    if on_gpu and _fitting(cluster_gpus, gpus) < replicas:
        raise ConfigError(
            f"{replicas} engines with {gpus:g} GPU each do not fit the {cluster_gpus:g} GPUs "
            "of the cluster: lower --engines or --gpus-per-engine, or add GPU nodes"
        )
    max_num_seqs = config.max_num_seqs or defaults.max_num_seqs
    settings = EngineSettings(
        model=model,
        base_dir=os.getcwd(),
        revision=config.revision,
        on_gpu=on_gpu,
        sound_in_video=plan.audio_rate is not None,
        args=_engine_args(config, defaults, plan=plan, on_gpu=on_gpu),
        environment=_environment(on_gpu=on_gpu, local=Path(model).is_dir()),
    )
    return EnginePool(
        settings=settings,
        replicas=replicas,
        gpus=gpus,
        cpus=config.cpus_per_engine,
        # A quarter more than fits the batch: while those are prepared, the batch is full.
        videos_in_flight=config.videos_in_flight or math.ceil(max_num_seqs * 1.25),
    )


def _fitting(cluster_gpus: float, gpus: float) -> int:
    """Engines that fit: a GPU is never shared beyond 1, nor an engine split over the rest."""
    if gpus >= 1:
        return int(cluster_gpus // gpus)
    return int(cluster_gpus) * int(1 / gpus + 1e-9)


def _engine_args(
    config: EngineConfig, defaults: RecipeDefaults, *, plan: SamplingPlan, on_gpu: bool
) -> dict[str, Any]:
    args: dict[str, Any] = {
        "max_model_len": config.max_model_len or defaults.max_model_len,
        "max_num_seqs": config.max_num_seqs or defaults.max_num_seqs,
        "limit_mm_per_prompt": defaults.media,
        "mm_processor_kwargs": config.mm_processor_kwargs or None,
        "dtype": config.dtype,
        "load_format": config.load_format,
        "trust_remote_code": config.trust_remote_code,
        "enforce_eager": config.enforce_eager or not on_gpu,
        "disable_log_stats": True,
        # vLLM's block hash leaves out the second modality of an interleaved placeholder:
        # with prefix caching, equal frames with another sound are answered with the
        # earlier sound. See docs/engine.md.
        "enable_prefix_caching": plan.audio_rate is None,
        # Its cache of processed media fails where a cached sound meets a new video.
        "mm_processor_cache_gb": 0,
    }
    if on_gpu:
        args["gpu_memory_utilization"] = round(_MEMORY_SHARE * min(config.gpus_per_engine, 1.0), 4)
        if config.gpus_per_engine > 1:
            args["tensor_parallel_size"] = int(config.gpus_per_engine)
    kv_cache = config.kv_cache_bytes or (None if on_gpu else _CPU_KV_CACHE_BYTES)
    if kv_cache is not None:
        args["kv_cache_memory_bytes"] = kv_cache
    return args | _checked(config.vllm_args)


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
        environment["VLLM_CPU_KVCACHE_SPACE"] = "1"
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
