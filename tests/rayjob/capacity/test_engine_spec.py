"""One engine, resolved once: feeding, memory and vLLM's arguments agree."""

from __future__ import annotations

from typing import Any

import pytest

from rayjob.capacity import sizing
from rayjob.capacity.engine_spec import EngineSpec, recipe_engine
from rayjob.capacity.model_shapes import load_shape
from rayjob.capacity.pool import engine_pool
from rayjob.recipes.longform.clips import Clips
from rayjob.run.prepare import prepare
from schemas.config import EngineConfig, JobConfig, RecipeConfig
from schemas.errors import ConfigError
from schemas.media import SamplingPlan
from tests.support.engines import SILENT, SOUND, machines, omni_engine
from tests.support.jobs import ROOT

TINY = str(ROOT / "models/tiny-omni")


def args(spec: EngineSpec, *, on_gpu: bool = False) -> dict[str, Any]:
    return spec.arguments(on_gpu=on_gpu, kv_cache_bytes=None)


@pytest.mark.parametrize(("config", "batch"), [({}, 64), ({"max_num_seqs": 16}, 16)])
def test_feeding_memory_and_vllm_know_one_batch(config: dict[str, Any], batch: int) -> None:
    spec = omni_engine(EngineConfig(model=TINY, **config), plan=SILENT)
    fit = sizing.Fit(model=load_shape(TINY), spec=spec, gpu_bytes=1e15)
    pool = engine_pool(spec, machines())
    assert (pool.videos_in_flight, pool.follows_queue) == (batch * 5 // 4, True)
    assert pool.settings.args["max_num_seqs"] == batch
    assert fit.sequences == batch


def test_what_is_configured_is_kept() -> None:
    given = EngineConfig(model="m", videos_in_flight=3, max_model_len=128, dtype="float16")
    spec = omni_engine(given)
    assert (spec.model, spec.videos_in_flight, spec.max_model_len) == ("m", 3, 128)
    assert not spec.follows_queue
    assert args(spec)["dtype"] == "float16"
    assert "gpus_per_engine" not in spec.model_fields_set, "asked for by nobody"


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("max_num_seqs", 8, "set engine.max_num_seqs"),
        ("max_model_len", 8, "set engine.max_model_len"),
        ("model", "m", "set engine.model"),
        ("tensor_parallel_size", 2, "set engine.gpus_per_engine"),
        ("gpu_memory_utilization", 0.5, "set engine.gpus_per_engine"),
        ("kv_cache_memory_bytes", 1, "set engine.kv_cache_bytes"),
        ("limit_mm_per_prompt", {"audio": 1}, "the job sets it by recipe.plan"),
        ("enable_prefix_caching", True, "the sound of an earlier video"),
        ("mm_processor_cache_gb", 4, "the job keeps this cache off"),
    ],
)
def test_vllm_args_do_not_repeat_a_setting(name: str, value: Any, instead: str) -> None:
    config = EngineConfig(model="m", vllm_args={name: value})
    with pytest.raises(ConfigError, match=rf"^engine\.vllm_args\.{name}: .*{instead}"):
        omni_engine(config)


def test_no_argument_of_vllm_is_set_in_two_ways() -> None:
    """All that the job sets is refused, but for what ``vllm_args`` are documented to change."""
    ours = {*args(omni_engine(EngineConfig(model="m")), on_gpu=True), "kv_cache_memory_bytes"}
    for name in ours - {"max_num_batched_tokens", "disable_log_stats"}:
        with pytest.raises(ConfigError, match=name):
            omni_engine(EngineConfig(model="m", vllm_args={name: 1}))


@pytest.mark.vllm
def test_a_step_on_gpus_is_as_large_as_the_sizing_takes_it_for() -> None:
    for given, tokens in (({}, 8192), ({"max_num_batched_tokens": 4096}, 4096)):
        spec = omni_engine(EngineConfig(model="m", vllm_args=given))
        assert spec.batched_tokens == args(spec, on_gpu=True)["max_num_batched_tokens"] == tokens
    with pytest.raises(ConfigError, match="'lots' is not a number"):
        omni_engine(EngineConfig(vllm_args={"max_num_batched_tokens": "lots"}))


@pytest.mark.parametrize(("context", "tokens"), [(1024, 8192), (20_000, 20_000)])
def test_a_step_on_cpus_holds_the_longest_prompt(context: int, tokens: int) -> None:
    made = args(omni_engine(EngineConfig(model="m", max_model_len=context)))
    assert made["max_num_batched_tokens"] == tokens
    assert made["enable_chunked_prefill"] is False
    given = omni_engine(EngineConfig(model="m", vllm_args={"max_num_batched_tokens": 512}))
    assert args(given)["max_num_batched_tokens"] == 512
    assert "enable_chunked_prefill" not in args(given)


@pytest.mark.parametrize(
    ("plan", "limits"),
    [
        (SOUND, {"image": 1, "video": 1, "audio": 1}),
        (SILENT, {"image": 1, "video": 1, "audio": 0}),
        (None, {"image": 0, "video": 0, "audio": 0}),
    ],
)
def test_the_plan_decides_on_media_and_caches(
    plan: SamplingPlan | None, limits: dict[str, int]
) -> None:
    found = args(omni_engine(EngineConfig(model="m"), plan=plan))
    assert found["limit_mm_per_prompt"] == limits
    # With sound, vLLM's caches would answer with another clip's.
    assert found["enable_prefix_caching"] is (plan is not SOUND)
    assert found["mm_processor_cache_gb"] == 0


@pytest.mark.parametrize(("listens", "caching"), [(True, False), (False, True)])
def test_a_recipe_that_adds_sound_by_itself_has_no_prefix_caching(
    tmp_path: Any, listens: bool, caching: bool
) -> None:
    name = "tests.support.recipes:Listening" if listens else "structured"
    (tmp_path / "a.mp4").touch()
    prepared = prepare(
        JobConfig(
            input=(str(tmp_path / "a.mp4"),),
            output=str(tmp_path / "out"),
            recipe=RecipeConfig(name=name),
            engine=EngineConfig(model=TINY),
        )
    )
    found = prepared.engines(machines()).settings.args
    assert prepared.recipe.plan is not None
    assert bool(prepared.recipe.plan.audio_rate) is listens
    assert found["enable_prefix_caching"] is caching
    assert found["limit_mm_per_prompt"]["audio"] == int(listens)
    # And the run stores what was really looked at, and heard.
    assert prepared.config.recipe.plan == prepared.recipe.plan


@pytest.mark.parametrize(
    ("model", "trusted", "runs"),
    [(None, None, True), ("other/model", None, False), (None, False, False), ("o/m", True, True)],
)
def test_only_a_recipe_s_own_model_may_run_its_code(
    model: str | None, trusted: bool | None, runs: bool
) -> None:
    config = EngineConfig(model=model, trust_remote_code=trusted)
    spec = recipe_engine(config, Clips(model=model))
    found = spec.arguments(on_gpu=True, kv_cache_bytes=None)
    assert found["trust_remote_code"] is runs
