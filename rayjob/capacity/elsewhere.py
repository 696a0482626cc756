"""Engines elsewhere: the endpoint that a configuration names, looked at before anything starts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx

from actors.engine.chat import MOST_BYTES, ChatService, read_key, shown
from actors.engine.remote_engine import RemoteSettings
from rayjob.capacity.engine_spec import EngineSpec
from rayjob.capacity.placement import Engines
from schemas.budget import Budget
from schemas.config import EngineConfig
from schemas.errors import ConfigError

_NAMING = "engine.endpoint.{}"
_LOOK_SEC = 20.0


def service_of(config: EngineConfig, *, model: str, connections: int) -> ChatService:
    """The endpoint of a configuration, with its key.

    Raises:
        ConfigError: the file or the variable of the key does not hold one.
    """
    endpoint = config.endpoint
    assert endpoint.url is not None
    return ChatService(
        url=endpoint.url,
        model=model,
        key=read_key(endpoint.key_file, endpoint.key_env, naming=_NAMING),
        connections=connections,
        requests_per_minute=endpoint.requests_per_minute,
        retries=endpoint.retries,
        timeout_sec=endpoint.timeout_sec,
        naming=_NAMING,
    )


def check_endpoint(service: ChatService) -> None:
    """Check that an endpoint answers, takes the key and knows the model.

    Where it does not list its models, that is left to the first request.

    Raises:
        ConfigError: it does not.
    """
    url = service.address("models")
    try:
        with (
            httpx.Client(headers=service.headers, timeout=_LOOK_SEC) as client,
            client.stream("GET", url) as reply,
        ):
            body = b""
            for chunk in reply.iter_raw():
                body += chunk
                if len(body) > MOST_BYTES:
                    return
    except httpx.HTTPError as error:
        raise ConfigError(
            f"nothing answers at {shown(url)} ({error or type(error).__name__}): check "
            f"{service.setting('url')}"
        ) from error
    said = service.clean(" ".join(body.decode("utf-8", "replace").split()))
    if reply.status_code in (401, 403):
        refusal = service.refusal(reply.status_code, said)
        assert refusal is not None
        raise refusal
    names = _names(body) if reply.is_success else []
    if names and service.model not in names:
        known = service.clean(", ".join(names[:8]))
        raise ConfigError(
            f"{shown(url)} does not list the model {service.model!r}, but {known}: set "
            "engine.model (--model) to its name there"
        )


def _names(body: bytes) -> list[str]:
    """Names of the models in a list of OpenAI's form; empty for anything else."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return []
    listed = found.get("data") if isinstance(found, dict) else None
    entries = listed if isinstance(listed, list) else []
    names = [each.get("id") for each in entries if isinstance(each, dict)]
    return [name for name in names if isinstance(name, str)]


def engines_elsewhere(spec: EngineSpec) -> Engines:
    """What the clients of an endpoint ask of a cluster: no GPU."""
    count = spec.engines or 1
    return Engines(
        replicas=count,
        min_replicas=spec.min_engines or count,
        cpus=spec.cpus_per_engine or 1.0,
        gpus=0.0,
    )


def remote_settings(spec: EngineSpec, *, replicas: int, budget: Budget | None) -> RemoteSettings:
    """How each of the clients starts; together they keep the pace of the configuration."""
    service = service_of(spec, model=spec.model, connections=spec.max_num_seqs)
    if service.requests_per_minute is not None:
        pace = service.requests_per_minute / replicas
        service = replace(service, requests_per_minute=pace)
    return RemoteSettings(
        service=service, endpoint=spec.endpoint, max_model_len=spec.max_model_len, budget=budget
    )
