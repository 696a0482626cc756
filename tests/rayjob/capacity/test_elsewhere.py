"""Engines elsewhere: what is checked before anything starts, and what they take of a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.engine.remote_engine import RemoteSettings
from rayjob.capacity.model_files import check_model
from rayjob.capacity.pool import EnginePool, engine_pool
from rayjob.recipes.omni import Omni
from rayjob.settings.loading import read_config
from schemas.config import DecodeConfig, EngineConfig, JobConfig
from schemas.errors import ConfigError
from schemas.media import StorageOptions
from tests.support.engines import machines, omni_engine
from tests.support.judge_server import JudgeServer, Reply

LISTED = Reply(body=json.dumps({"data": [{"id": "big-model"}, {"id": "small-model"}]}))


def elsewhere(url: str = "http://127.0.0.1:9/v1", **options: Any) -> EngineConfig:
    endpoint = {"url": url, **options.pop("endpoint", {})}
    return EngineConfig.model_validate(
        {"kind": "openai", "model": "big-model", "endpoint": endpoint, **options}
    )


def looked_at(models: Reply, **endpoint: Any) -> list[str | None]:
    """The keys that the endpoint was asked with."""
    with JudgeServer(lambda asked: Reply(status=500), models=models) as server:
        check_model("big-model", elsewhere(server.url, endpoint=endpoint), StorageOptions())
        return server.keys


def test_a_model_that_is_listed_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("sk-1\n")
    assert looked_at(LISTED, key_file=str(tmp_path / "key")) == ["Bearer sk-1"]
    monkeypatch.setenv("OUR_KEY", "sk-2")
    assert looked_at(LISTED, key_env="OUR_KEY") == ["Bearer sk-2"]
    assert looked_at(LISTED) == [None]


@pytest.mark.parametrize(
    "models",
    [Reply(status=404, body="no"), Reply(body="[" * 9999), Reply(body='{"data": [7]}'), Reply()],
)
def test_an_endpoint_need_not_list_its_models(models: Reply) -> None:
    looked_at(models)


@pytest.mark.parametrize(
    ("models", "endpoint", "words"),
    [
        (LISTED, {"key_env": "NOT_SET_ANYWHERE"}, r"key_env: the variable NOT_SET_ANYWHERE"),
        (LISTED, {"key_file": "no/such/file"}, r"engine\.endpoint\.key_file no/such/file cannot"),
        (
            Reply(status=401, body="who?"),
            {},
            r"refuses the key \(HTTP 401\): pass engine\.endpoint",
        ),
        (
            Reply(body='{"data": [{"id": "other"}]}'),
            {},
            r"does not list the model 'big-model', but",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    models: Reply, endpoint: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        looked_at(models, **endpoint)


def test_nobody_listens() -> None:
    with pytest.raises(ConfigError, match=r"nothing answers at http://127\.0\.0\.1:9/v1/models"):
        check_model("big-model", elsewhere(), StorageOptions())
    with pytest.raises(ConfigError, match=r"not an http:// or https:// URL"):
        check_model("big-model", elsewhere("ftp://somewhere/v1"), StorageOptions())


def pool(config: EngineConfig, *gpus: float) -> EnginePool:
    return engine_pool(omni_engine(config), machines(*gpus), decode=DecodeConfig())


def test_it_takes_no_gpu_and_is_not_sized() -> None:
    found = pool(elsewhere(engines=3, endpoint={"requests_per_minute": 600}), 8)
    assert (found.replicas, found.gpus, found.total_gpus) == (3, 0, 0)
    assert isinstance(found.settings, RemoteSettings)
    # Together they keep the pace.
    assert found.settings.service.requests_per_minute == 200
    assert found.settings.max_model_len == Omni.max_model_len
    assert found.describe() == "3 engines of big-model, at http://127.0.0.1:9/v1"
    assert pool(elsewhere("http://me:secret@h/v1")).describe().endswith("at http://h/v1")


def test_it_needs_an_address_and_only_it() -> None:
    for assignment in ("engine.kind=openai", "engine.endpoint.url=http://x/v1"):
        with pytest.raises(ConfigError, match=r"kind: openai and endpoint\.url go together"):
            read_config(
                JobConfig,
                assignments=[assignment],
                flags={"input": ["a"], "output": "b"},
            )
