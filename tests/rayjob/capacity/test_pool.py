"""From a configuration to a pool: fractions, shares, sound, and models that are not there."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rayjob.capacity.pool import EnginePool, check_model, engine_pool, model_revision
from rayjob.capacity.sizing import engine_load
from rayjob.recipes.clips import Clips
from rayjob.recipes.omni import Omni
from schemas.config import EngineConfig
from schemas.errors import ConfigError, ModelError
from schemas.media import SamplingPlan

SOUND = SamplingPlan(num_frames=8, audio_rate=16_000)
SILENT = SamplingPlan(num_frames=8)


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
    pool = engine_pool(config, Omni, plan=SOUND, cluster_gpus=gpus)
    assert (pool.gpus, pool.replicas) == (fraction, replicas)
    assert pool.settings.args["gpu_memory_utilization"] == share
    assert pool.settings.args.get("tensor_parallel_size", 1) == max(1, int(fraction))
    assert pool.settings.on_gpu


@pytest.mark.parametrize(("engines", "gpus"), [(5, 2), (1, 0)])
def test_a_pool_that_does_not_fit_is_an_error(model: str, engines: int, gpus: int) -> None:
    config = EngineConfig(model=model, device="gpu", gpus_per_engine=0.5, engines=engines)
    with pytest.raises(ConfigError, match="do not fit"):
        engine_pool(config, Omni, plan=SOUND, cluster_gpus=gpus)


def test_an_engine_never_spans_nodes(model: str) -> None:
    nodes = [{"CPU": 8.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}]

    def pool(**settings: Any) -> EnginePool:
        config = EngineConfig(model=model, **settings)
        return engine_pool(config, Omni, plan=SOUND, cluster_gpus=2, nodes=nodes)

    assert [pool(gpus_per_engine=share).replicas for share in (1, 0.5, 0.3)] == [2, 4, 6]
    with pytest.raises(ConfigError, match=r"1 engines with 2 GPU each .* 1 on a node at most"):
        pool(gpus_per_engine=2)
    # Nodes that are still to come may have more.
    later = pool(gpus_per_engine=2, engines=1, device="gpu", autoscale=True)
    assert later.replicas == 1


def test_a_pool_may_grow(model: str) -> None:
    config = EngineConfig(model=model, gpus_per_engine=0.5, engines=4, min_engines=2)
    pool = engine_pool(config, Omni, plan=SOUND, cluster_gpus=2)
    assert (pool.min_replicas, pool.replicas) == (2, 4)
    assert pool.describe().startswith("2 to 4 engines of")
    for wrong in ({"min_engines": 2}, {"engines": 1, "min_engines": 2}):
        with pytest.raises(ValidationError, match="min_engines needs engines"):
            EngineConfig.model_validate(wrong)


def test_without_gpus_it_runs_on_the_cpu(model: str) -> None:
    pool = engine_pool(EngineConfig(model=model), Omni, plan=SOUND, cluster_gpus=0)
    assert (pool.gpus, pool.replicas, pool.settings.on_gpu) == (0.0, 1, False)
    assert pool.settings.args["enforce_eager"]
    assert "gpu_memory_utilization" not in pool.settings.args


def test_a_rehearsal_on_the_cpu_asks_ray_for_gpus(model: str) -> None:
    config = EngineConfig(model=model, device="cpu", gpus_per_engine=0.5)
    pool = engine_pool(config, Omni, plan=SOUND, cluster_gpus=2)
    assert (pool.gpus, pool.replicas, pool.settings.on_gpu) == (0.5, 4, False)
    assert "gpu_memory_utilization" not in pool.settings.args
    assert pool.describe() == f"4 engines of {model}, 0.5 GPU each, on the CPU"
    with pytest.raises(ConfigError, match="do not fit"):
        engine_pool(config, Omni, plan=SOUND, cluster_gpus=0)


def test_gpus_that_are_asked_for_are_not_replaced_by_the_cpu(model: str) -> None:
    config = EngineConfig(model=model, gpus_per_engine=0.5, engines=4)
    with pytest.raises(ConfigError, match=r"0\.5 GPU each, and the cluster has none: .*autoscale"):
        engine_pool(config, Omni, plan=SOUND, cluster_gpus=0)


def test_caches_that_mix_up_sounds_are_off(model: str) -> None:
    config = EngineConfig(model=model)
    with_sound = engine_pool(config, Omni, plan=SOUND, cluster_gpus=0).settings.args
    without = engine_pool(config, Omni, plan=SILENT, cluster_gpus=0).settings.args
    assert with_sound["enable_prefix_caching"] is False
    assert without["enable_prefix_caching"] is True
    assert with_sound["mm_processor_cache_gb"] == 0


def test_a_plan_may_ask_for_sound_on_its_own(model: str) -> None:
    config = EngineConfig(model=model)
    for plan, sounds in ((SOUND, 1), (SILENT, 0)):
        pool = engine_pool(config, Clips, plan=plan, cluster_gpus=0)
        limits = pool.settings.args["limit_mm_per_prompt"]
        assert limits == {"image": 1, "video": 1, "audio": sounds}


def test_a_step_on_gpus_is_as_large_as_the_sizing_takes_it_for(model: str) -> None:
    config = EngineConfig(model=model)
    on_gpu = engine_pool(config, Omni, plan=SOUND, cluster_gpus=1).settings.args
    assert on_gpu["max_num_batched_tokens"] == engine_load(config, Omni).batched_tokens
    on_cpu = engine_pool(config, Omni, plan=SOUND, cluster_gpus=0).settings.args
    assert "max_num_batched_tokens" not in on_cpu


def test_vllm_args_win_and_are_checked(model: str) -> None:
    config = EngineConfig(model=model, vllm_args={"max_num_batched_tokens": 4096})
    pool = engine_pool(config, Omni, plan=SOUND, cluster_gpus=0)
    assert pool.settings.args["max_num_batched_tokens"] == 4096
    lots = EngineConfig(model=model, vllm_args={"max_num_batched_tokens": "lots"})
    with pytest.raises(ConfigError, match="'lots' is no number"):
        engine_pool(lots, Omni, plan=SOUND, cluster_gpus=0)
    with pytest.raises(ConfigError, match="no_such_argument"):
        engine_pool(
            EngineConfig(model=model, vllm_args={"no_such_argument": 1}),
            Omni,
            plan=SOUND,
            cluster_gpus=0,
        )


def test_models_that_are_not_there(tmp_path: Path, model: str) -> None:
    for name, message in (
        (str(tmp_path), "no checkpoint"),
        ("./no/such/folder", "no folder"),
        ("nobody/nothing", "neither a folder nor to be had from the hub"),
    ):
        with pytest.raises(ModelError, match=message):
            check_model(name, EngineConfig())
    (Path(model) / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        check_model(model, EngineConfig())
    check_model(model, EngineConfig(load_format="dummy"))


def test_revision_of_a_folder_follows_its_files(model: str) -> None:
    before = model_revision(model, None)
    assert before is not None and len(before) == 16
    assert model_revision(model, "r2") == "r2"
    (Path(model) / "model.safetensors").write_bytes(b"other weights")
    assert model_revision(model, None) != before
