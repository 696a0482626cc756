"""Qwen's families."""

from __future__ import annotations

from typing import Any

from tests.support.models.checkpoint import CLIP_MEAN, CLIP_STD, HALF, TEXT, Checkpoint
from tests.support.models.templates import HARMONY, of_parts, of_strings

CHAT = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_VISION = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
_THINKING = ("<think>", "</think>")
_SOUND = ("<|audio_start|>", "<|audio_end|>", "<|audio_pad|>")

_PLACES: dict[str, Any] = {
    "image": "<|vision_start|><|image_pad|><|vision_end|>",
    "video": "<|vision_start|><|video_pad|><|vision_end|>",
}
_IDS = {
    "bos_token_id": "<|endoftext|>",
    "eos_token_id": "<|im_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
_PATCHES = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
_CLIP = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD}


def qwen25_vl() -> Checkpoint:
    """Qwen2.5-VL."""
    return Checkpoint(
        control=(*CHAT, *_VISION),
        template=of_parts(**_PLACES),
        config={
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "model_type": "qwen2_5_vl",
            **TEXT,
            **_IDS,
            "vision_token_id": "<|vision_pad|>",
            "rope_theta": 1e6,
            "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
            "vision_config": {
                "model_type": "qwen2_5_vl",
                "depth": 2,
                "hidden_size": 64,
                "intermediate_size": 96,
                "num_heads": 2,
                "out_hidden_size": 128,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "window_size": 112,
                "fullatt_block_indexes": [1],
                "tokens_per_second": 2,
            },
        },
        files={
            "preprocessor_config.json": {
                "min_pixels": 3136,
                "max_pixels": 12_845_056,
                **_PATCHES,
                **_CLIP,
                "image_processor_type": "Qwen2VLImageProcessor",
                "processor_class": "Qwen2_5_VLProcessor",
            }
        },
    )


def qwen3_vl(*, experts: bool = False, samples: bool = False) -> Checkpoint:
    """Qwen3-VL, dense or with experts.

    Args:
        samples: its video processor samples frames unless it is told not to.
    """
    kind = "qwen3_vl_moe" if experts else "qwen3_vl"
    text = {
        **TEXT,
        "model_type": f"{kind}_text",
        "head_dim": 32,
        "rope_theta": 5e6,
        "rope_scaling": {
            "mrope_interleaved": True,
            "mrope_section": [6, 5, 5],
            "rope_type": "default",
        },
    }
    if experts:
        text |= {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "decoder_sparse_step": 1,
            "norm_topk_prob": True,
            "mlp_only_layers": [],
        }
    name = "Qwen3VLMoe" if experts else "Qwen3VL"
    return Checkpoint(
        control=(*CHAT, *_VISION, *_THINKING),
        template=of_parts(**_PLACES),
        config={
            "architectures": [f"{name}ForConditionalGeneration"],
            "model_type": kind,
            **_IDS,
            "text_config": text,
            "vision_config": _qwen3_vision(kind),
        },
        files=_qwen3_files(samples=samples),
    )


def qwen35() -> Checkpoint:
    """Qwen3.5: linear attention in three layers of four, and a switch for thinking."""
    plain = qwen3_vl()
    text = dict(plain.config["text_config"])
    del text["rope_theta"], text["rope_scaling"]
    text |= {
        "model_type": "qwen3_5_text",
        "num_hidden_layers": 4,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"],
        "full_attention_interval": 4,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "attn_output_gate": True,
        "mamba_ssm_dtype": "float32",
        "rope_parameters": {
            "mrope_interleaved": True,
            "mrope_section": [2, 1, 1],
            "rope_type": "default",
            "rope_theta": 1e7,
            "partial_rotary_factor": 0.25,
        },
    }
    vision = _qwen3_vision("qwen3_5") | {"deepstack_visual_indexes": []}
    switch = (
        "{{ '<|im_start|>assistant\n' }}"
        "{%- if enable_thinking is defined and enable_thinking is false -%}"
        "{{ '<think>\n\n</think>\n\n' }}{%- else -%}{{ '<think>\n' }}{%- endif -%}"
    )
    begin = plain.template.rindex("{{", 0, plain.template.rindex("{%- endif"))
    template = plain.template[:begin] + switch + "{%- endif -%}"
    return Checkpoint(
        control=plain.control,
        template=template,
        config={
            **plain.config,
            "architectures": ["Qwen3_5ForConditionalGeneration"],
            "model_type": "qwen3_5",
            "text_config": text,
            "vision_config": vision,
        },
        files=plain.files,
    )


def qwen3_omni() -> Checkpoint:
    """Qwen3-Omni."""
    rope = {"mrope_interleaved": True, "mrope_section": [6, 5, 5], "rope_type": "default"}
    thinker: dict[str, Any] = {
        "model_type": "qwen3_omni_moe_thinker",
        **_IDS,
        "audio_token_id": "<|audio_pad|>",
        "audio_start_token_id": "<|audio_start|>",
        "audio_end_token_id": "<|audio_end|>",
        "position_id_per_seconds": 13,
        "text_config": {
            **TEXT,
            "model_type": "qwen3_omni_moe_text",
            "head_dim": 32,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "decoder_sparse_step": 1,
            "norm_topk_prob": True,
            "mlp_only_layers": [],
            "rope_theta": 1e6,
            "rope_scaling": rope,
        },
        "vision_config": {
            **_qwen3_vision("qwen3_omni_moe_vision_encoder"),
            "apply_vit_abs_pos_embed": True,
            "image_size": 768,
        },
        "audio_config": {
            "model_type": "qwen3_omni_moe_audio_encoder",
            "d_model": 64,
            "encoder_layers": 2,
            "num_hidden_layers": 2,
            "encoder_ffn_dim": 96,
            "encoder_attention_heads": 2,
            "num_mel_bins": 128,
            "output_dim": 128,
            "max_source_positions": 1500,
            "n_window": 50,
            "n_window_infer": 800,
            "conv_chunksize": 500,
            "downsample_hidden_size": 32,
            "activation_function": "gelu",
        },
    }
    names = {
        "image_token": "<|image_pad|>",
        "audio_token": "<|audio_pad|>",
        "video_token": "<|video_pad|>",
        "vision_bos_token": "<|vision_start|>",
        "vision_eos_token": "<|vision_end|>",
        "audio_bos_token": "<|audio_start|>",
        "audio_eos_token": "<|audio_end|>",
    }
    return Checkpoint(
        control=(*CHAT, *_VISION, *_THINKING, *_SOUND),
        template=of_parts(**_PLACES, audio="<|audio_start|><|audio_pad|><|audio_end|>"),
        config={
            "architectures": ["Qwen3OmniMoeForConditionalGeneration"],
            "model_type": "qwen3_omni_moe",
            "enable_audio_output": False,
            "thinker_config": thinker,
            "torch_dtype": "bfloat16",
        },
        tokenizer={**names, "extra_special_tokens": names},
        files={
            "preprocessor_config.json": {
                "chunk_length": 300,
                "dither": 0.0,
                "feature_extractor_type": "WhisperFeatureExtractor",
                "feature_size": 128,
                "hop_length": 160,
                "n_fft": 400,
                "n_samples": 4_800_000,
                "nb_max_frames": 30_000,
                "padding_side": "right",
                "padding_value": 0.0,
                "return_attention_mask": True,
                "sampling_rate": 16_000,
                "image_mean": HALF,
                "image_std": HALF,
                "image_processor_type": "Qwen2VLImageProcessor",
                "min_pixels": 3136,
                "max_pixels": 12_845_056,
                "merge_size": 2,
                "patch_size": 16,
                "temporal_patch_size": 2,
                "processor_class": "Qwen3OmniMoeProcessor",
            }
        },
    )


def qwen3_text() -> Checkpoint:
    """Qwen3, which thinks unless its template is told otherwise."""
    return Checkpoint(
        control=(*CHAT, *_THINKING),
        template=of_strings(thinks=True),
        config={
            **TEXT,
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "head_dim": 32,
            "attention_bias": False,
            "rope_theta": 1e6,
            "bos_token_id": "<|endoftext|>",
            "eos_token_id": "<|im_end|>",
        },
    )


def gpt_oss() -> Checkpoint:
    """gpt-oss: answers come in channels."""
    control = (
        "<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>",
        "<|start|>", "<|end|>", "<|message|>", "<|call|>",
    )  # fmt: skip
    return Checkpoint(
        control=control,
        template=HARMONY,
        config={
            **TEXT,
            "architectures": ["GptOssForCausalLM"],
            "model_type": "gpt_oss",
            "head_dim": 32,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "experts_per_token": 2,
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 128,
            "rope_theta": 150_000,
            "attention_bias": True,
            "swiglu_limit": 7.0,
            "eos_token_id": "<|return|>",
            "pad_token_id": "<|endoftext|>",
        },
        tokenizer={
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|return|>",
            "bos_token": "<|startoftext|>",
        },
    )


def _qwen3_vision(kind: str) -> dict[str, Any]:
    return {
        "model_type": kind,
        "deepstack_visual_indexes": [0],
        "depth": 2,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_heads": 2,
        "num_position_embeddings": 2304,
        "out_hidden_size": 128,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }


def _qwen3_files(*, samples: bool) -> dict[str, dict[str, Any]]:
    both = {
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": HALF,
        "image_std": HALF,
        "processor_class": "Qwen3VLProcessor",
    }
    return {
        "preprocessor_config.json": {
            **both,
            "size": {"longest_edge": 16_777_216, "shortest_edge": 65_536},
            "image_processor_type": "Qwen2VLImageProcessorFast",
        },
        "video_preprocessor_config.json": {
            **both,
            "size": {"longest_edge": 25_165_824, "shortest_edge": 4096},
            "video_processor_type": "Qwen3VLVideoProcessor",
            **({"do_sample_frames": True, "fps": 1} if samples else {}),
        },
    }
