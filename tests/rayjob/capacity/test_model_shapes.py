"""Shapes of models: parameters by headers and by transformers, and what cannot be sized."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rayjob.capacity import sizing
from rayjob.capacity.model_shapes import Tensor, load_shape, published_models, shape_of
from schemas.config import EngineConfig
from schemas.errors import ModelError
from tests.support.engines import omni_engine

TINY = "models/tiny-omni"
OMNI, QWEN_VL, MINICPM, QWEN = published_models()


def published(model: str) -> dict[str, Any]:
    text = Path("rayjob/capacity/published_models.json").read_text()
    config: dict[str, Any] = json.loads(text)[model]["config"]
    return config


@pytest.mark.parametrize(
    ("model", "billions"), [(OMNI, 4.70), (QWEN_VL, 8.29), (MINICPM, 8.10), (QWEN, 32.76)]
)
def test_published_models_have_the_published_number_of_parameters(
    model: str, billions: float
) -> None:
    shape = load_shape(model)
    assert shape.weight_bytes == pytest.approx(2 * billions * 1e9, rel=0.001)
    assert load_shape(model, dtype="float32").weight_bytes == 2 * shape.weight_bytes


@pytest.mark.vllm
def test_parameters_are_those_of_transformers() -> None:
    """Exactly, tensor by tensor: the same configurations, instantiated without memory."""
    import torch
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2Config,
        Qwen2ForCausalLM,
    )
    from transformers.models.qwen2_5_omni import (
        Qwen2_5OmniThinkerConfig,
        Qwen2_5OmniThinkerForConditionalGeneration,
    )

    omni, vision, text = published(OMNI)["thinker_config"], published(QWEN_VL), published(QWEN)
    with torch.device("meta"):
        models = {
            OMNI: Qwen2_5OmniThinkerForConditionalGeneration(Qwen2_5OmniThinkerConfig(**omni)),
            QWEN_VL: Qwen2_5_VLForConditionalGeneration(
                Qwen2_5_VLConfig(
                    text_config={key: vision[key] for key in vision if key != "vision_config"}
                    | {"model_type": "qwen2_5_vl_text"},
                    vision_config=vision["vision_config"],
                    tie_word_embeddings=False,
                )
            ),
            QWEN: Qwen2ForCausalLM(Qwen2Config(**text)),
        }
    for name, model in models.items():
        parameters = sum(each.numel() for each in model.parameters())
        assert load_shape(name).weight_bytes == 2 * parameters, name


def test_weights_on_disk_are_counted_from_their_headers(tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in Path(TINY).glob("*.safetensors"))
    shape = load_shape(TINY)
    assert 0 <= size - shape.weight_bytes < 0.02 * size, "what is left is the header"
    assert load_shape(TINY, dtype="float32").weight_bytes == 2 * shape.weight_bytes
    without = shutil.ignore_patterns("*.safetensors")
    with pytest.raises(ModelError, match=r"has no \*\.safetensors"):
        load_shape(str(shutil.copytree(TINY, tmp_path / "model", ignore=without)))


def test_only_the_thinker_is_loaded_and_quantised_weights_stay_small() -> None:
    tensors = [
        Tensor("thinker.model.norm.weight", "F32", 1000),
        Tensor("talker.model.norm.weight", "F32", 77),
        Tensor("token2wav.x", "BF16", 77),
        Tensor("thinker.model.quantised", "F8_E4M3", 500),
    ]
    shape = shape_of("m", published(OMNI), tensors=tensors, dtype="auto")
    assert shape.weight_bytes == 2500


@pytest.mark.parametrize("name", ["text_config", "llm_config", "language_config"])
def test_a_decoder_inside_another_configuration(name: str) -> None:
    config = {"architectures": ["Both"], name: published(QWEN)}
    plain = shape_of("m", published(QWEN), tensors=[], dtype="auto")
    assert shape_of("m", config, tensors=[], dtype="auto").layers == plain.layers


def test_weights_that_change_while_they_are_loaded_cannot_be_sized() -> None:
    spec = omni_engine(EngineConfig(model=TINY, vllm_args={"quantization": "bitsandbytes"}))
    with pytest.raises(ModelError, match=r"vllm_args\.quantization changes its weights"):
        sizing.shape_for(spec)


QUANTISED = {
    # What a layer of 128 x 256 is stored as, and the bytes that it takes.
    "FP8": ([("q_proj.weight", "F8_E4M3", 32_768), ("q_proj.weight_scale_inv", "BF16", 2)], 32_772),
    "GPTQ": (
        [
            ("q_proj.qweight", "I32", 32_768 // 8), ("q_proj.qzeros", "I32", 256 // 8),
            ("q_proj.scales", "F16", 256), ("q_proj.g_idx", "I32", 128),
        ],
        16_384 + 128 + 512 + 512,
    ),
    "AWQ": (
        [
            ("q_proj.qweight", "I32", 32_768 // 8), ("q_proj.qzeros", "I32", 256 // 8),
            ("q_proj.scales", "F16", 256),
        ],
        16_384 + 128 + 512,
    ),
    "MXFP4": (
        [
            ("experts.gate_up_proj_blocks", "U8", 16_384),
            ("experts.gate_up_proj_scales", "U8", 1024),
        ],
        17_408,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", QUANTISED)
def test_quantised_weights_take_what_they_are_stored_as(kind: str) -> None:
    stored, size = QUANTISED[kind]
    tensors = [Tensor(f"model.layers.0.self_attn.{name}", *rest) for name, *rest in stored]
    config = published(QWEN) | {"quantization_config": {"quant_method": kind.lower()}}
    for said in (None, "fp8", "awq_marlin"):
        shape = shape_of("m", config, tensors=tensors, dtype="auto", quantization=said)
        assert shape.weight_bytes == size


def test_weights_that_become_fp8_while_they_are_loaded() -> None:
    """The linear layers of the decoder; the rest is counted as it is, to be on the safe side."""
    shrinks = [
        "model.layers.3.self_attn.q_proj.weight",
        "model.language_model.layers.3.mlp.down_proj.weight",
        "thinker.model.layers.3.mlp.experts.7.up_proj.weight",
        "model.language_model.layers.0.mlp.experts.gate_up_proj",
    ]
    stays = [
        "model.embed_tokens.weight", "lm_head.weight", "model.layers.3.input_layernorm.weight",
        "model.layers.3.self_attn.q_proj.bias", "model.layers.3.mlp.gate.weight",
        "visual.layers.3.attn.q_proj.weight",
        "vision_tower.encoder.layers.3.self_attn.k_proj.weight",
        "thinker.audio_tower.layers.3.self_attn.v_proj.weight",
    ]  # fmt: skip

    def size(names: list[str]) -> int:
        tensors = [Tensor(name, "BF16", 1000) for name in names]
        config = published(QWEN)
        shape = shape_of("m", config, tensors=tensors, dtype="auto", quantization="fp8")
        return shape.weight_bytes

    assert size(shrinks) == 1000 * len(shrinks)
    assert size(stays) == 2000 * len(stays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": None}, "no num_hidden_layers"),
        ({"kv_lora_rank": 512}, "it is not told"),
        ({"num_kv_shared_layers": 10}, "it is not told"),
        ({"layer_types": ["linear_attention"] * 3 + ["full_attention"]}, "it is not told"),
        ({"model_type": "of_its_own", "sliding_window": 1024}, "it is not told"),
    ],
)
def test_models_that_cannot_be_sized_say_so(change: dict[str, Any], message: str) -> None:
    config = published(QWEN) | change
    with pytest.raises(ModelError, match=message):
        shape_of("m", config, tensors=[], dtype="auto")


@pytest.mark.parametrize(
    "unused",
    [
        {"sliding_window": None},
        {"sliding_window": 32_768, "use_sliding_window": False},
        {"sliding_window": 131_072, "max_position_embeddings": 131_072},
    ],
)
def test_a_window_that_is_not_in_use_is_sized(unused: dict[str, Any]) -> None:
    shape = shape_of("m", published(QWEN) | unused, tensors=[], dtype="auto")
    assert (shape.layers, shape.sliding_layers) == (load_shape(QWEN).layers, 0)
