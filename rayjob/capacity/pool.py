"""The pool of engines: how many, with which share of which device, started how."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from actors.engine.loading import EngineSettings
from actors.engine.remote_engine import RemoteSettings
from actors.engine.script import Script
from actors.storage.uris import display_uri
from rayjob.capacity.cluster import Resources
from rayjob.capacity.elsewhere import (
    check_endpoint,
    engines_elsewhere,
    remote_settings,
    service_of,
)
from rayjob.capacity.engine_spec import EngineSpec
from rayjob.capacity.model_shapes import asking_hub, hub_config
from rayjob.capacity.placement import (
    Engines,
    Nodes,
    check_places,
    engines_asked,
    gpu_shares,
    gpu_types,
    running,
    runs_on_gpu,
)
from rayjob.capacity.sizing import check_memory, known_gpu_gb
from rayjob.counts import counted
from schemas.budget import Budget
from schemas.config import DecodeConfig, EngineConfig
from schemas.errors import ConfigError, ModelError

logger = logging.getLogger(__name__)

_CPU_KV_CACHE_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class EnginePool(Engines):
    """Engines, and how each of them is started.

    Attributes:
        videos_in_flight: videos that one replica works on at once.
    """

    settings: EngineSettings | RemoteSettings
    videos_in_flight: int

    @property
    def total_gpus(self) -> float:
        """GPUs that the pool holds."""
        return self.replicas * self.gpus

    def describe(self) -> str:
        """One line for a person."""
        least = f"{self.min_replicas} to " if self.min_replicas < self.replicas else ""
        engines = f"{least}{counted(self.replicas, 'engine')}"
        each = " each" if self.replicas > 1 else ""
        share = f", {counted(self.gpus, 'GPU')}{each}" if self.gpus else ""
        if isinstance(self.settings, RemoteSettings):
            device = f", at {display_uri(self.settings.service.base)}"
        else:
            device = "" if self.settings.on_gpu else ", on the CPU"
        return f"{engines} of {self.settings.model}{share}{device}"


def engine_pool(
    spec: EngineSpec,
    resources: Resources,
    *,
    decode: DecodeConfig | None = None,
    budget: Budget | None = None,
    script: Script | None = None,
) -> EnginePool:
    """A pool of engines on a cluster.

    Fractions: ``gpus_per_engine`` sets the Ray resource and the memory share together;
    engines on one GPU start one after the other (see :mod:`actors.engine.vllm_engine`).

    Args:
        resources: the cluster as it is; the accelerator types of its GPUs tell their memory
            where the specification does not.
        decode: decoders that must find a place beside the engines; None for a job without.
        budget: what a request with a clip may cost.
        script: what each engine rehearses.

    Raises:
        ConfigError: an actor finds no place on the nodes and none is to come, an engine's share
            of a GPU cannot hold the model and one sequence, this vLLM does not know an
            argument, or the chat template cannot be read.
    """
    nodes = running(resources)
    if spec.kind == "openai":
        asked = engines_elsewhere(spec)
        check_places(nodes, engines=asked, decode=decode)
        return EnginePool(
            **vars(asked),
            settings=remote_settings(spec, replicas=asked.replicas, budget=budget),
            videos_in_flight=spec.videos_in_flight,
        )
    on_gpu = runs_on_gpu(spec, nodes)
    asked = engines_asked(spec, nodes)
    if spec.engines is None and asked.gpus:
        fitting = sum(node.count * gpu_shares(node.gpus, asked.gpus) for node in nodes.types)
        asked = replace(asked, replicas=max(1, fitting), min_replicas=max(1, fitting))
    if not spec.autoscale:
        try:
            check_places(nodes, engines=asked, decode=decode)
        except ConfigError as error:
            advice = "Where the cluster adds nodes by itself, set engine.autoscale"
            raise ConfigError(f"{error}\n{advice}") from error
    settings = engine_settings(
        spec,
        on_gpu=on_gpu,
        kv_cache_bytes=_gpu_kv_cache_bytes(spec, nodes) if on_gpu else None,
        budget=budget,
        script=script,
    )
    return EnginePool(**vars(asked), settings=settings, videos_in_flight=spec.videos_in_flight)


def engine_settings(
    spec: EngineSpec,
    *,
    on_gpu: bool,
    kv_cache_bytes: int | None = None,
    budget: Budget | None = None,
    script: Script | None = None,
) -> EngineSettings:
    """How an engine is started. See :func:`engine_pool` for arguments and errors.

    Args:
        kv_cache_bytes: on GPUs, None to let vLLM measure.
    """
    if not on_gpu:
        kv_cache_bytes = spec.kv_cache_bytes or _CPU_KV_CACHE_BYTES
    return EngineSettings(
        model=spec.model,
        base_dir=os.getcwd(),
        revision=spec.revision,
        on_gpu=on_gpu,
        args=spec.arguments(on_gpu=on_gpu, kv_cache_bytes=kv_cache_bytes),
        environment=_environment(on_gpu=on_gpu, local=Path(spec.model).is_dir()),
        budget=budget,
        chat_template=_chat_template(spec),
        chat_template_kwargs=spec.chat_template_kwargs,
        script=script,
    )


def _gpu_kv_cache_bytes(spec: EngineSpec, nodes: Nodes) -> int | None:
    """As :func:`check_memory`; a model whose shape cannot be had is not checked."""
    try:
        gpu_gb = spec.gpu_memory_gb or known_gpu_gb(gpu_types(nodes.types))
        return check_memory(spec, gpu_gb=gpu_gb)
    except ModelError as error:
        logger.warning("not checked whether an engine fits its share of a GPU: %s", error)
        return spec.kv_cache_bytes


def _chat_template(spec: EngineSpec) -> str | None:
    """Text of the configured template; ConfigError where its file cannot be read."""
    if spec.chat_template is None:
        return None
    try:
        return Path(spec.chat_template).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"engine.chat_template: the file {spec.chat_template} cannot be read: {error}"
        ) from error


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
    """Check that a model exists before any actor starts.

    Raises:
        ModelError: it does not.
        ConfigError: it is elsewhere, and cannot be asked there.
    """
    if config.kind == "openai":
        check_endpoint(service_of(config, model=model, connections=1))
        return
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
    with asking_hub(model, advice=hint):
        hub_config(model, revision=config.revision)


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
