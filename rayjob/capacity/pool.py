"""The pool of engines: how many, with which share of which device, started how."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from actors.engine.loading import EngineSettings
from actors.engine.remote_engine import RemoteSettings
from actors.engine.script import Script
from actors.storage.uris import display_uri
from rayjob.capacity.cluster import Resources
from rayjob.capacity.elsewhere import engines_elsewhere, remote_settings
from rayjob.capacity.engine_spec import EngineSpec
from rayjob.capacity.model_files import is_stored, stored_model
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
from schemas.config import DecodeConfig
from schemas.errors import ConfigError, ModelError

logger = logging.getLogger(__name__)

_CPU_KV_CACHE_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class EnginePool(Engines):
    """Engines, and how each of them is started.

    Attributes:
        videos_in_flight: videos that one replica works on at once.
        follows_queue: as of :class:`actors.stages.Captioner`.
    """

    settings: EngineSettings | RemoteSettings
    videos_in_flight: int
    follows_queue: bool

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
        prepared = ""
        if self.prepare_processes:
            many = self.prepare_processes > 1
            processes = f"{self.prepare_processes} processes" if many else "a process"
            beside = "each" if self.replicas > 1 else "it"
            prepared = f", requests prepared by {processes} beside {beside}"
        return f"{engines} of {self.settings.model}{share}{device}{prepared}"


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
        ModelError: the model's folder in a storage cannot be listed.
    """
    nodes = running(resources)
    if spec.kind == "openai":
        asked = engines_elsewhere(spec)
        check_places(nodes, engines=asked, decode=decode)
        return EnginePool(
            **vars(asked),
            settings=remote_settings(spec, replicas=asked.replicas, budget=budget),
            videos_in_flight=spec.videos_in_flight,
            follows_queue=spec.follows_queue,
        )
    on_gpu = runs_on_gpu(spec, nodes)
    asked = engines_asked(spec, nodes, plan=spec.plan)
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
        prepare_processes=asked.prepare_processes,
        budget=budget,
        script=script,
    )
    return EnginePool(
        **vars(asked),
        settings=settings,
        videos_in_flight=spec.videos_in_flight,
        follows_queue=spec.follows_queue,
    )


def engine_settings(
    spec: EngineSpec,
    *,
    on_gpu: bool,
    kv_cache_bytes: int | None = None,
    prepare_processes: int = 0,
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
        environment=_environment(spec, on_gpu=on_gpu),
        prepare_processes=prepare_processes,
        budget=budget,
        chat_template=_chat_template(spec),
        chat_template_kwargs=spec.chat_template_kwargs,
        script=script,
        stored=stored_model(spec.model, spec.storage) if _is_fetched(spec) else None,
        model_dir=spec.model_dir,
    )


def _is_fetched(spec: EngineSpec) -> bool:
    """Whether nodes copy the model from a storage; vLLM's streamer reads it from there."""
    return is_stored(spec.model) and not spec.load_format.startswith("runai_streamer")


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


def _environment(spec: EngineSpec, *, on_gpu: bool) -> dict[str, str]:
    environment = {
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if is_stored(spec.model):
        # For vLLM's streamer, which is not told them in any other way.
        storage = {"ENDPOINT_URL": spec.storage.endpoint_url, "REGION": spec.storage.region}
        environment |= {f"AWS_{name}": each for name, each in storage.items() if each}
    if is_stored(spec.model) or Path(spec.model).is_dir():
        environment["HF_HUB_OFFLINE"] = "1"
    if not on_gpu:
        # On the CPU vLLM would give the model a process of its own beside the scheduler's, and
        # the two wait for each other in busy loops.
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return environment
