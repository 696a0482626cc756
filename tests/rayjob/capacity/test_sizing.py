"""Sizing: parameters from shapes, KV cache as vLLM reports it, what fits a share of a GPU."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.engine.vllm_engine import VllmEngine
from rayjob.capacity import sizing
from rayjob.capacity.engine_spec import EngineSpec
from rayjob.capacity.model_shapes import ModelShape, load_shape, published_models, shape_of
from rayjob.capacity.pool import engine_pool
from schemas.config import EngineConfig
from schemas.errors import ConfigError
from schemas.media import SamplingPlan
from tests.support.engines import SILENT, machines, omni_engine
from tests.support.models.checkpoint import Checkpoint
from tests.support.models.others import gemma3, internvl, mistral3
from tests.support.models.qwen import gpt_oss, qwen3_vl, qwen25_vl, qwen35

TINY = "models/tiny-omni"
OMNI, QWEN_VL, MINICPM, QWEN = published_models()


def load(*, plan: SamplingPlan | None = SILENT, **engine: Any) -> EngineSpec:
    config = EngineConfig(**{"max_model_len": 16_384, "max_num_seqs": 64, **engine})
    return omni_engine(config, plan=plan)


def variant(folder: Path, **text: int) -> str:
    """A copy of the tiny model with another decoder and no weights."""
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    decoder = config["thinker_config"]["text_config"]
    decoder |= text
    decoder["layer_types"] = ["full_attention"] * decoder["num_hidden_layers"]
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def per_token_of(shape: ModelShape) -> int:
    """Bytes of one token in all layers on one GPU."""
    return shape.layers * shape.layer_bytes_per_token(tensor_parallel=1, item_bytes=None)


def deep(family: Callable[[], Checkpoint], layers: int) -> Checkpoint:
    """A family's checkpoint with more layers, of which its class decides what they keep."""
    plain = family()
    text = {"num_hidden_layers": layers, "layer_types": None}
    if "text_config" in plain.config:
        text = {"text_config": {**plain.config["text_config"], "num_hidden_layers": layers}}
    return dataclasses.replace(plain, config={**plain.config, **text})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "layers", "kept"),
    # A layer in six sees everything, or each second one, or all; the last group is filled up, or
    # not.
    [
        (gemma3, 13, (2, 11)),
        (gpt_oss, 5, (2, 3)),
        (gpt_oss, 4, (2, 2)),
        (qwen3_vl, 3, (3, 0)),
        (internvl, 3, (3, 0)),
        (mistral3, 3, (3, 0)),
    ],
)
def test_layers_take_what_vllm_gives_them(
    family: Callable[[], Checkpoint],
    layers: int,
    kept: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = deep(family, layers).write(tmp_path / "model")
    kv_cache_bytes = 200 << 20
    config = EngineConfig(
        model=str(folder), device="cpu", dtype="bfloat16", max_model_len=8192, max_num_seqs=8,
        kv_cache_bytes=kv_cache_bytes, load_format="dummy",
        vllm_args={"block_size": 32, "max_num_batched_tokens": 512},
    )  # fmt: skip
    plan = SILENT if family is gemma3 else None
    spec = omni_engine(config, plan=plan)
    engine = VllmEngine(engine_pool(spec, machines()).settings)
    try:
        started = engine._llm.vllm_config
        reported = started.cache_config.kv_cache_max_concurrency
        # On the CPU one step at a time, on GPUs two.
        monkeypatch.setattr(sizing, "_STEPS_IN_FLIGHT", started.max_concurrent_batches)
    finally:
        engine.close()
    text = json.loads((folder / "config.json").read_text())
    shape = shape_of("m", text, tensors=[], dtype="bfloat16")
    assert (shape.layers, shape.sliding_layers) == kept
    sized = sizing.Fit(model=shape, spec=spec, gpu_bytes=1.0)
    assert reported == pytest.approx(kv_cache_bytes / sized.kv_per_sequence, rel=0.005)


@pytest.mark.vllm
def test_kv_cache_is_what_vllm_reports(tmp_path: Path) -> None:
    """With an odd size, and a decoder whose every factor of the formula is another one."""
    kv_cache_bytes = 33_333_333
    model = variant(tmp_path / "model", num_hidden_layers=3, num_key_value_heads=3)
    config = EngineConfig(
        model=model, device="cpu", dtype="bfloat16", max_model_len=1024, max_num_seqs=8,
        kv_cache_bytes=kv_cache_bytes, load_format="dummy",
    )  # fmt: skip
    pool = engine_pool(omni_engine(config, plan=SILENT), machines())
    engine = VllmEngine(pool.settings)
    try:
        cache = engine._llm.vllm_config.cache_config
        reported = cache.num_gpu_blocks * cache.block_size
        block = cache.block_size
    finally:
        engine.close()
    text = json.loads(Path(model, "config.json").read_text())
    per_token = per_token_of(shape_of(model, text, tensors=[], dtype="bfloat16"))
    assert reported == kv_cache_bytes // (per_token * block) * block > 0


def fit(model: str, *, gpu_gb: float, gpus: float = 1.0, **asked: Any) -> sizing.Fit:
    shape: ModelShape = load_shape(model)
    spec = load(gpus_per_engine=gpus, **asked)
    return sizing.Fit(model=shape, spec=spec, gpu_bytes=gpu_gb * sizing.GB)


def test_kv_cache_of_a_sequence() -> None:
    # Keys and values, 36 layers, 2 heads of 128, two bytes each.
    assert per_token_of(load_shape(OMNI)) == 2 * 36 * 2 * 128 * 2
    one = fit(OMNI, gpu_gb=80)
    assert one.kv_per_sequence == 16_384 * 36_864
    assert fit(OMNI, gpu_gb=80, max_model_len=16_385).kv_per_sequence == (16_384 + 16) * 36_864
    assert (
        fit(OMNI, gpu_gb=80, vllm_args={"kv_cache_dtype": "fp8"}).kv_per_sequence * 2
        == one.kv_per_sequence
    )


def test_tensor_parallel_shares_weights_and_heads() -> None:
    alone, two, eight = (fit(QWEN_VL, gpu_gb=80, gpus=gpus) for gpus in (1.0, 2.0, 8.0))
    assert two.weights * 2 == alone.weights
    assert two.kv_per_sequence * 2 == alone.kv_per_sequence
    # Four heads on eight GPUs: each GPU keeps one.
    assert eight.kv_per_sequence * 4 == alone.kv_per_sequence
    assert two.sequences_per_gpu == two.sequences / 2


def test_parts_add_up_to_the_share() -> None:
    for gpus in (0.25, 0.5, 1.0):
        one = fit(OMNI, gpu_gb=141, gpus=gpus)
        assert one.weights + one.overhead + one.kv_cache == int(0.9 * gpus * 141e9)
    longer = fit(OMNI, gpu_gb=141, max_model_len=32_768)
    assert longer.overhead > one.overhead
    assert fit(OMNI, gpu_gb=141, enforce_eager=True).overhead < one.overhead
    # Text alone needs no room for the encoder.
    assert fit(OMNI, gpu_gb=141, plan=None).overhead < one.overhead


def test_a_step_may_compute_several_videos() -> None:
    short, long = (fit(OMNI, gpu_gb=80, max_model_len=tokens) for tokens in (4096, 8192))
    assert short.overhead == long.overhead
    assert (
        fit(
            OMNI, gpu_gb=80, max_model_len=4096, vllm_args={"max_num_batched_tokens": 2048}
        ).overhead
        < short.overhead
    )


def test_the_choice_has_most_sequences_in_flight() -> None:
    shape = load_shape(OMNI)
    for gpu_gb, gpus in ((24, 1.0), (80, 0.5), (141, 0.5)):
        fits = sizing.fits_of(shape, load(), gpu_gb=gpu_gb)
        choice = sizing.best(fits)
        assert choice is not None and choice.gpus == gpus
        assert choice.sequences_per_gpu == max(each.sequences_per_gpu for each in fits)
    # Without a limit on the batch, one copy of the weights leaves most for sequences.
    unlimited = load(max_num_seqs=1000)
    choice = sizing.best(sizing.fits_of(shape, unlimited, gpu_gb=141))
    assert choice is not None and choice.gpus == 1.0


def test_several_gpus_only_where_one_holds_too_little() -> None:
    def tried(model: str, gpu_gb: float) -> list[float]:
        return [each.gpus for each in sizing.fits_of(load_shape(model), load(), gpu_gb=gpu_gb)]

    assert tried(QWEN, 141) == [0.25, 0.5, 1.0]
    # One GPU of 80 GB holds the weights and a single sequence.
    assert tried(QWEN, 80) == [0.25, 0.5, 1.0, 2.0]
    assert tried(QWEN, 24) == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
    # 28 heads are not shared by eight.
    assert tried(QWEN_VL, 4) == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert sizing.best(sizing.fits_of(load_shape(QWEN), load(), gpu_gb=4)) is None


@pytest.mark.parametrize(
    ("model", "gpus", "splits"),
    # 28 heads with 4 for keys and values, and 40 with 8.
    [(QWEN_VL, 4, True), (QWEN_VL, 3, False), (QWEN_VL, 7, False), (QWEN_VL, 8, False),
     (QWEN, 5, False), (QWEN, 8, True), (QWEN, 40, True)],
)  # fmt: skip
def test_gpus_share_heads_evenly_or_not_at_all(model: str, gpus: int, splits: bool) -> None:
    found = fit(model, gpu_gb=80, gpus=gpus)
    assert (found.splits, found.sequences > 0) == (splits, splits)
    # The memory of an A100 is not told by its type.
    for type_ in ("L40S", "A100"):
        config = EngineConfig(
            model=model, device="gpu", engines=1, gpus_per_engine=gpus, max_model_len=8192
        )
        with contextlib.ExitStack() as stack:
            if not splits:
                stack.enter_context(pytest.raises(ConfigError, match="cannot be spread over"))
            engine_pool(omni_engine(config, plan=SILENT), machines(gpus, type_=type_))


@pytest.mark.parametrize(
    ("types", "gb"),
    [
        (["L4"], 24), (["H100", "L4"], 24), (["A100"], None), (["A100", "A100-80G"], 80),
        (["L4", "Unheard-Of"], None), ([], None),
    ],
)  # fmt: skip
def test_memory_by_accelerator_type(types: list[str], gb: float | None) -> None:
    assert sizing.known_gpu_gb(types) == gb


def pool_args(**engine: Any) -> dict[str, Any]:
    config = EngineConfig(**{"model": OMNI, "device": "gpu", **engine})
    spec = omni_engine(config, plan=SILENT)
    return engine_pool(spec, machines(8, type_="L4")).settings.args


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"gpus_per_engine": 0.5}, "0.5 of a GPU of 24 GB.*--gpus-per-engine to at least 0.68"),
        ({"model": QWEN, "max_model_len": 8192}, "several GPUs.*--gpus-per-engine 2"),
        ({"max_model_len": 400_000}, "engine.max_model_len"),
        ({"kv_cache_bytes": 20 * 10**9}, "KV cache needs 20.0 GB"),
        ({"kv_cache_bytes": 2**20}, "do not hold a sequence of 20000 tokens"),
    ],
)
def test_a_job_that_cannot_fit_is_refused(engine: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        pool_args(**engine)


def test_what_the_refusal_advises_is_accepted() -> None:
    with pytest.raises(ConfigError) as refused:
        pool_args(gpus_per_engine=0.5)
    advised = float(str(refused.value).split("at least ")[1].split(",")[0])
    assert "kv_cache_memory_bytes" in pool_args(gpus_per_engine=advised)


def test_engines_that_share_a_gpu_get_their_cache_outright() -> None:
    args = pool_args(gpus_per_engine=0.5, gpu_memory_gb=80)
    expected = fit(OMNI, gpu_gb=80, gpus=0.5, max_model_len=20_000).kv_cache
    assert args["kv_cache_memory_bytes"] == expected > 0
    assert args["gpu_memory_utilization"] == 0.45
    # One that has its GPU alone is measured by vLLM.
    assert "kv_cache_memory_bytes" not in pool_args(gpus_per_engine=1, gpu_memory_gb=80)


def test_engines_may_wait_for_nodes_that_come_later(tmp_path: Path) -> None:
    asked = EngineConfig(model=OMNI, device="gpu", engines=3, autoscale=True, gpu_memory_gb=24)
    pool = engine_pool(omni_engine(asked, plan=SILENT), machines())
    assert (pool.replicas, pool.gpus, pool.settings.on_gpu) == (3, 1.0, True)
    with pytest.raises(ConfigError, match="does not fit"):
        quarter = asked.model_copy(update={"gpus_per_engine": 0.25})
        engine_pool(omni_engine(quarter, plan=SILENT), machines())
    for missing in ({"engines": None}, {"device": "auto"}):
        with pytest.raises(ValueError, match=r"autoscale needs"):
            EngineConfig(**{"device": "gpu", "engines": 3, "autoscale": True, **missing})


def test_nothing_is_refused_where_the_memory_is_unknown() -> None:
    config = EngineConfig(model=QWEN, device="gpu", gpus_per_engine=0.25)
    pool = engine_pool(omni_engine(config, plan=SILENT), machines(1, type_="A100"))
    assert "kv_cache_memory_bytes" not in pool.settings.args


@pytest.mark.parametrize(
    ("family", "engine", "said"),
    [
        (qwen35, {}, "it is not told"),
        (qwen25_vl, {"vllm_args": {"quantization": "bitsandbytes"}}, "changes its weights"),
    ],
)
def test_what_cannot_be_sized_is_said_and_runs_unsized(
    family: Callable[[], Checkpoint],
    engine: dict[str, Any],
    said: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = family().write(tmp_path / "model")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    args = pool_args(model=str(folder), gpus_per_engine=0.5, gpu_memory_gb=80, **engine)
    assert "kv_cache_memory_bytes" not in args
    assert said in caplog.text
