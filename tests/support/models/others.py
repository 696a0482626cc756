"""Families of other houses."""

from __future__ import annotations

import dataclasses
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
RESIZED: dict[str, Any] = {
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
        **RESIZED,
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


def internvl_of_the_vendor() -> Checkpoint:
    """The same in the vendor's format, whose configuration is code that comes along."""
    plain = internvl()
    code = """
from transformers import PretrainedConfig, Qwen2Config


class VisionConfig(PretrainedConfig):
    model_type = "intern_vit_6b"


class ChatConfig(PretrainedConfig):
    model_type = "internvl_chat"

    def __init__(self, vision_config=None, llm_config=None, **more):
        super().__init__(**more)
        self.vision_config = VisionConfig(**(vision_config or {}))
        self.llm_config = Qwen2Config(**(llm_config or {}))
"""
    return dataclasses.replace(
        plain,
        control=(*plain.control, "<|video_pad|>"),
        template=of_parts(image="<image>\n", video="<video>\n"),
        config={
            "architectures": ["InternVLChatModel"],
            "auto_map": {"AutoConfig": "configuration_own.ChatConfig"},
            "model_type": "internvl_chat",
            "downsample_ratio": 0.5,
            "dynamic_image_size": True,
            "force_image_size": 448,
            "max_dynamic_patch": 12,
            "min_dynamic_patch": 1,
            "ps_version": "v2",
            "select_layer": -1,
            "use_thumbnail": True,
            "torch_dtype": "bfloat16",
            "llm_config": {**_QWEN2_TEXT, "rope_theta": 1e6},
            "vision_config": {
                **VISION,
                "model_type": "intern_vit_6b",
                "architectures": ["InternVisionModel"],
                "image_size": 448,
                "patch_size": 14,
                "num_channels": 3,
                "qkv_bias": True,
                "qk_normalization": False,
                "norm_type": "layer_norm",
                "layer_norm_eps": 1e-6,
                "hidden_act": "gelu",
            },
        },
        tokenizer={},
        files={
            "preprocessor_config.json": {
                "crop_size": 448,
                "do_center_crop": True,
                "do_normalize": True,
                "do_resize": True,
                "feature_extractor_type": "CLIPFeatureExtractor",
                "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225],
                "resample": 3,
                "size": 448,
            }
        },
        code={"configuration_own.py": code.lstrip()},
    )


def llava_onevision() -> Checkpoint:
    """LLaVA-OneVision."""
    grid = [[384 * wide, 384 * high] for wide in range(1, 7) for high in range(1, 7)]
    both = {
        **RESIZED,
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
                **RESIZED,
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


def mistral3() -> Checkpoint:
    """Mistral Small 3.1 in the format of transformers, which takes images alone."""
    control = (
        "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
        "[IMG]", "[IMG_BREAK]", "[IMG_END]", "<pad>",
    )  # fmt: skip
    return Checkpoint(
        control=control,
        template=(
            "{{- '<s>' -}}{%- for message in messages -%}"
            "{%- if message.role == 'system' -%}{{- '[SYSTEM_PROMPT]' -}}"
            "{%- if message.content is string -%}{{- message.content -}}"
            "{%- else -%}{{- message.content[0].text -}}{%- endif -%}{{- '[/SYSTEM_PROMPT]' -}}"
            "{%- else -%}{{- '[INST]' -}}"
            "{%- if message.content is string -%}{{- message.content -}}{%- else -%}"
            "{%- for part in message.content -%}"
            "{%- if part.type == 'text' -%}{{- part.text -}}"
            "{%- elif part.type in ('image', 'image_url') -%}{{- '[IMG]' -}}{%- endif -%}"
            "{%- endfor -%}{%- endif -%}{{- '[/INST]' -}}{%- endif -%}{%- endfor -%}"
        ),
        config={
            "architectures": ["Mistral3ForConditionalGeneration"],
            "model_type": "mistral3",
            "image_token_index": "[IMG]",
            "multimodal_projector_bias": False,
            "projector_hidden_act": "gelu",
            "spatial_merge_size": 2,
            "vision_feature_layer": -1,
            "torch_dtype": "bfloat16",
            "text_config": {
                **TEXT,
                "model_type": "mistral",
                "head_dim": 32,
                "rope_theta": 1e9,
                "sliding_window": None,
            },
            "vision_config": {
                **VISION,
                "model_type": "pixtral",
                "head_dim": 32,
                "hidden_act": "silu",
                "image_size": 1540,
                "patch_size": 14,
                "num_channels": 3,
                "rope_theta": 10_000.0,
            },
        },
        tokenizer={
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
        },
        files={
            "preprocessor_config.json": {
                **RESIZED,
                "image_mean": CLIP_MEAN,
                "image_std": CLIP_STD,
                "image_processor_type": "PixtralImageProcessor",
                "patch_size": 14,
                "processor_class": "PixtralProcessor",
                "size": {"longest_edge": 1540},
            },
            "processor_config.json": {
                "image_break_token": "[IMG_BREAK]",
                "image_end_token": "[IMG_END]",
                "image_token": "[IMG]",
                "patch_size": 14,
                "processor_class": "PixtralProcessor",
                "spatial_merge_size": 2,
            },
        },
    )
