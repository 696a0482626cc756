"""From a configuration to a pool: fractions, shares, sound, and models that are not there."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from actors.engine.loading import load
from rayjob.capacity.pool import EnginePool, engine_pool
from schemas.config import DecodeConfig, EngineConfig
from schemas.errors import ConfigError
from tests.support.engines import machines, omni_engine
from tests.support.jobs import ROOT


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return str(folder)


@pytest.mark.parametrize(
    ("fraction", "gpus", "replicas", "share"),
    [(1.0, 4, 4, 0.9), (0.5, 4, 8, 0.45), (0.25, 1, 4, 0.225), (0.4, 2, 4, 0.36), (2, 5, 2, 0.9)],
)
def test_one_setting_decides_resource_share_and_number(
    model: str, fraction: float, gpus: int, replicas: int, share: float
) -> None:
    config = EngineConfig(model=model, gpus_per_engine=fraction)
    pool = engine_pool(omni_engine(config), machines(gpus))
    assert (pool.gpus, pool.replicas) == (fraction, replicas)
    assert pool.settings.args["gpu_memory_utilization"] == share
    assert pool.settings.args.get("tensor_parallel_size", 1) == max(1, int(fraction))
    assert pool.settings.on_gpu


@pytest.mark.parametrize(
    ("engines", "gpus", "message"),
    [
        (5, 2, "no place for 5 engines, it holds 4 at most"),
        (1, 0, "no node type holds an engine with 0.5 GPU and 1 CPU"),
    ],
)
def test_a_pool_that_does_not_fit_is_an_error(
    model: str, engines: int, gpus: int, message: str
) -> None:
    config = EngineConfig(model=model, device="gpu", gpus_per_engine=0.5, engines=engines)
    with pytest.raises(ConfigError, match=rf"{message}[^\n]*\n.*set engine\.autoscale"):
        engine_pool(omni_engine(config), machines(gpus))


def test_an_engine_never_spans_nodes(model: str) -> None:
    def pool(**settings: Any) -> EnginePool:
        config = EngineConfig(model=model, **settings)
        return engine_pool(omni_engine(config), machines(0, 1, 1))

    assert [pool(gpus_per_engine=share).replicas for share in (1, 0.5, 0.3)] == [2, 4, 6]
    with pytest.raises(ConfigError, match=r"engine with 2 GPUs .* 2 x \(16 CPUs, 1 GPU\)"):
        pool(gpus_per_engine=2)
    # Nodes that are still to come may have more.
    later = pool(gpus_per_engine=2, engines=1, device="gpu", autoscale=True)
    assert later.replicas == 1


def test_a_pool_may_grow(model: str) -> None:
    config = EngineConfig(model=model, gpus_per_engine=0.5, engines=4, min_engines=2)
    pool = engine_pool(omni_engine(config), machines(2))
    assert (pool.min_replicas, pool.replicas) == (2, 4)
    assert pool.describe().startswith("2 to 4 engines of")
    for wrong in ({"min_engines": 2}, {"engines": 1, "min_engines": 2}):
        with pytest.raises(ValidationError, match="min_engines needs engines"):
            EngineConfig.model_validate(wrong)


@pytest.mark.parametrize(
    ("settings", "gpus", "line"),
    [
        ({}, (), "1 engine of MODEL, on the CPU"),
        ({}, (1,), "1 engine of MODEL, 1 GPU, requests prepared by 4 processes beside it"),
        (
            {"gpus_per_engine": 2, "prepare_processes": 1},
            (2, 2),
            "2 engines of MODEL, 2 GPUs each, requests prepared by a process beside each",
        ),
        (
            {"gpus_per_engine": 0.5, "prepare_processes": 0},
            (2,),
            "4 engines of MODEL, 0.5 GPU each",
        ),
    ],
)
def test_a_pool_describes_itself(
    model: str, settings: dict[str, Any], gpus: tuple[float, ...], line: str
) -> None:
    pool = engine_pool(omni_engine(EngineConfig(model=model, **settings)), machines(*gpus))
    assert pool.describe() == line.replace("MODEL", model)


def test_decoders_find_a_place_beside_the_engines_that_are_kept(model: str) -> None:
    decode = DecodeConfig()
    growing = EngineConfig(model=model, engines=2, min_engines=1)
    engine_pool(omni_engine(growing), machines(cpus=2), decode=decode)
    fixed = EngineConfig(model=model, engines=2)
    engine_pool(omni_engine(fixed), machines(cpus=2))
    with pytest.raises(ConfigError, match="2 engines would leave no place for a decoder"):
        engine_pool(omni_engine(fixed), machines(cpus=2), decode=decode)


def test_without_gpus_it_runs_on_the_cpu(model: str) -> None:
    pool = engine_pool(omni_engine(EngineConfig(model=model)), machines())
    assert (pool.gpus, pool.replicas, pool.settings.on_gpu) == (0.0, 1, False)
    assert pool.settings.args["enforce_eager"]
    assert "gpu_memory_utilization" not in pool.settings.args


def test_a_rehearsal_on_the_cpu_asks_ray_for_gpus(model: str) -> None:
    config = EngineConfig(model=model, device="cpu", gpus_per_engine=0.5)
    pool = engine_pool(omni_engine(config), machines(2))
    assert (pool.gpus, pool.replicas, pool.settings.on_gpu) == (0.5, 4, False)
    assert "gpu_memory_utilization" not in pool.settings.args
    assert pool.describe() == f"4 engines of {model}, 0.5 GPU each, on the CPU"
    with pytest.raises(ConfigError, match=r"no node type holds an engine with 0\.5 GPU"):
        engine_pool(omni_engine(config), machines())


def test_gpus_that_are_asked_for_are_not_replaced_by_the_cpu(model: str) -> None:
    config = EngineConfig(model=model, gpus_per_engine=0.5, engines=4)
    with pytest.raises(ConfigError, match=r"0\.5 GPU each, and the cluster has none: .*autoscale"):
        engine_pool(omni_engine(config), machines())


@pytest.mark.vllm
def test_vllm_args_reach_vllm_and_unknown_ones_are_refused(model: str) -> None:
    config = EngineConfig(model=model, vllm_args={"max_num_batched_tokens": 4096})
    pool = engine_pool(omni_engine(config), machines())
    assert pool.settings.args["max_num_batched_tokens"] == 4096
    unknown = EngineConfig(model=model, vllm_args={"no_such_argument": 1})
    with pytest.raises(ConfigError, match="no_such_argument"):
        engine_pool(omni_engine(unknown), machines())


def test_the_driver_does_without_vllm(model: str) -> None:
    """Its import takes seconds, and warns of what concerns engines alone."""
    code = (
        "import sys; from tests.support.engines import machines, omni_engine\n"
        "from rayjob.capacity.pool import engine_pool; from schemas.config import EngineConfig\n"
        f"engine_pool(omni_engine(EngineConfig(model={model!r})), machines())\n"
        "print('vllm' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.strip() == "False", done.stderr


def test_on_a_head_without_vllm_the_engine_looks_at_vllm_args(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EngineConfig(model=model, vllm_args={"no_such_argument": 1})
    has_vllm = importlib.util.find_spec("vllm") is not None
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        settings = engine_pool(omni_engine(config), machines()).settings
    if has_vllm:
        with pytest.raises(ConfigError, match="no_such_argument"):
            load(settings)
