"""Families of other houses."""

from __future__ import annotations

from typing import Any

from tests.support.models.checkpoint import (
    CLIP_MEAN,
    CLIP_STD,
    HALF,
    TEXT,
    VISION,
    VOCABULARY,
    Checkpoint,
)
from tests.support.models.qwen import CHAT
from tests.support.models.templates import of_parts

_QWEN2_TEXT = {**TEXT, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
_RESIZED: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "rescale_factor": 1 / 255,
    "resample": 3,
}


def internvl() -> Checkpoint:
    """InternVL3 and 3.5 in the library's format."""
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    both = {
        **_RESIZED,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "processor_class": "InternVLProcessor",
        "size": {"height": 448, "width": 448},
    }
    return Checkpoint(
        control=(*CHAT, "<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        template=of_parts(image="<IMG_CONTEXT>\n", video="<video>\n"),
        config={
            "architectures": ["InternVLForConditionalGeneration"],
            "model_type": "internvl",
            "downsample_ratio": 0.5,
            "image_seq_length": 256,
            "image_token_id": "<IMG_CONTEXT>",
            "torch_dtype": "bfloat16",
            "text_config": _QWEN2_TEXT,
            "vision_config": {
                **VISION,
                "model_type": "internvl_vision",
                "architectures": ["InternVisionModel"],
                "image_size": [448, 448],
                "patch_size": [14, 14],
                "attention_bias": True,
                "norm_type": "layer_norm",
            },
        },
        tokenizer={**names, "extra_special_tokens": names, "processor_class": "InternVLProcessor"},
        files={
            "preprocessor_config.json": {
                **both,
                "crop_to_patches": False,
                "image_processor_type": "GotOcr2ImageProcessorFast",
                "min_patches": 1,
                "max_patches": 12,
            },
            "video_preprocessor_config.json": {
                **both,
                "do_sample_frames": True,
                "num_frames": 10,
                "video_processor_type": "InternVLVideoProcessor",
            },
            "processor_config.json": {
                "image_seq_length": 256,
                "processor_class": "InternVLProcessor",
            },
        },
    )


def llava_onevision() -> Checkpoint:
    """LLaVA-OneVision."""
    grid = [[384 * wide, 384 * high] for wide in range(1, 7) for high in range(1, 7)]
    both = {
        **_RESIZED,
        "image_mean": HALF,
        "image_std": HALF,
        "processor_class": "LlavaOnevisionProcessor",
        "size": {"height": 384, "width": 384},
    }
    names = {"image_token": "<image>", "video_token": "<video>"}
    return Checkpoint(
        control=(*CHAT, "<image>", "<video>"),
        template=of_parts(image="<image>\n", video="<video>\n"),
        config={
            "architectures": ["LlavaOnevisionForConditionalGeneration"],
            "model_type": "llava_onevision",
            "image_grid_pinpoints": grid,
            "image_token_index": "<image>",
            "video_token_index": "<video>",
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_9",
            "torch_dtype": "bfloat16",
            "text_config": _QWEN2_TEXT,
            "vision_config": {
                **VISION,
                "model_type": "siglip_vision_model",
                "image_size": 384,
                "patch_size": 14,
                "vision_use_head": False,
            },
        },
        tokenizer={**names, "extra_special_tokens": names},
        files={
            "preprocessor_config.json": {
                **both,
                "do_pad": True,
                "image_grid_pinpoints": grid,
                "image_processor_type": "LlavaOnevisionImageProcessor",
            },
            "video_preprocessor_config.json": {
                **both,
                "video_processor_type": "LlavaOnevisionVideoProcessor",
            },
            "processor_config.json": {
                **names,
                "num_image_tokens": 729,
                "processor_class": "LlavaOnevisionProcessor",
                "vision_feature_select_strategy": "full",
                "vision_aspect_ratio": "anyres_max_9",
            },
        },
    )


def gemma3() -> Checkpoint:
    """Gemma 3, which takes images alone."""
    names = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    control = (
        "<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>",
        "<start_of_image>", "<end_of_image>", "<image_soft_token>",
        "\n", "\n\n", "\n\n\n", "\n\n\n\n",
    )  # fmt: skip
    return Checkpoint(
        control=control,
        template=of_parts(
            first="<bos>",
            begin="<start_of_turn>{role}\n",
            end="<end_of_turn>\n",
            image="<start_of_image>",
            answer="<start_of_turn>model\n",
        ),
        config={
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "boi_token_index": "<start_of_image>",
            "eoi_token_index": "<end_of_image>",
            "image_token_index": "<image_soft_token>",
            "mm_tokens_per_image": 256,
            "torch_dtype": "bfloat16",
            "text_config": {
                "model_type": "gemma3_text",
                "hidden_size": 128,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 32,
                "vocab_size": VOCABULARY,
                "sliding_window": 1024,
                "query_pre_attn_scalar": 32,
                "max_position_embeddings": 32_768,
            },
            "vision_config": {
                **VISION,
                "model_type": "siglip_vision_model",
                "image_size": 896,
                "patch_size": 14,
                "vision_use_head": False,
            },
        },
        tokenizer={
            **names,
            "extra_special_tokens": names,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<eos>",
            "pad_token": "<pad>",
            "bos_token": "<bos>",
        },
        files={
            "preprocessor_config.json": {
                **_RESIZED,
                "image_mean": HALF,
                "image_std": HALF,
                "image_seq_length": 256,
                "image_processor_type": "Gemma3ImageProcessor",
                "processor_class": "Gemma3Processor",
                "size": {"height": 896, "width": 896},
            },
            "processor_config.json": {
                "image_seq_length": 256,
                "processor_class": "Gemma3Processor",
            },
        },
    )


def glm41v() -> Checkpoint:
    """GLM-4.1V: its template prints a system message as it comes."""
    control = (
        "<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>",
        "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>",
        "<|image|>", "<|video|>", "<think>", "</think>",
    )  # fmt: skip
    both = {
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "processor_class": "Glm4vProcessor",
    }
    return Checkpoint(
        control=control,
        template=of_parts(
            first="[gMASK]<sop>",
            begin="<|{role}|>\n",
            end="",
            image="<|begin_of_image|><|image|><|end_of_image|>",
            video="<|begin_of_video|><|video|><|end_of_video|>",
            answer="<|assistant|>\n<think>",
            lists_to_system=True,
        ),
        config={
            "architectures": ["Glm4vForConditionalGeneration"],
            "model_type": "glm4v",
            "image_start_token_id": "<|begin_of_image|>",
            "image_end_token_id": "<|end_of_image|>",
            "video_start_token_id": "<|begin_of_video|>",
            "video_end_token_id": "<|end_of_video|>",
            "image_token_id": "<|image|>",
            "video_token_id": "<|video|>",
            "torch_dtype": "bfloat16",
            "text_config": {
                **TEXT,
                "model_type": "glm4v_text",
                "pad_token_id": "<|endoftext|>",
                "eos_token_id": ["<|endoftext|>", "<|user|>"],
                "attention_bias": True,
                "rope_theta": 10_000.0,
                "partial_rotary_factor": 0.5,
                "rope_scaling": {
                    "type": "default",
                    "rope_type": "default",
                    "mrope_section": [2, 3, 3],
                    "partial_rotary_factor": 0.5,
                },
            },
            "vision_config": {
                "model_type": "glm4v",
                "hidden_size": 64,
                "depth": 2,
                "num_heads": 2,
                "intermediate_size": 128,
                "hidden_act": "silu",
                "image_size": 336,
                "out_hidden_size": 128,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
            },
        },
        tokenizer={
            "image_token": "<|image|>",
            "video_token": "<|video|>",
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|endoftext|>",
        },
        files={
            "preprocessor_config.json": {
                **both,
                "size": {"shortest_edge": 12_544, "longest_edge": 9_633_792},
                "image_processor_type": "Glm4vImageProcessor",
            },
            "video_preprocessor_config.json": {
                **both,
                "size": {"shortest_edge": 12_544, "longest_edge": 47_040_000},
                "video_processor_type": "Glm4vVideoProcessor",
                "fps": 2,
                "max_duration": 300,
                "do_sample_frames": True,
            },
        },
    )
