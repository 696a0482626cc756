"""The GLM family."""

from __future__ import annotations

import dataclasses

from tests.support.models.checkpoint import (
    CLIP_MEAN,
    CLIP_STD,
    TEXT,
    Checkpoint,
)
from tests.support.models.templates import of_parts


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


def glm45v() -> Checkpoint:
    """GLM-4.5V: the same with experts, a switch for thinking, and a plain system message."""
    plain = glm41v()
    silent = (
        "{{ '\n<think></think>' if enable_thinking is defined and not enable_thinking else '' }}"
    )
    answer = "{{ '<|assistant|>' }}"
    template = of_parts(
        first="[gMASK]<sop>",
        begin="<|{role}|>\n",
        end="",
        image="<|begin_of_image|><|image|><|end_of_image|>",
        video="<|begin_of_video|><|video|><|end_of_video|>",
        answer="<|assistant|>",
    ).replace(answer, answer + silent)
    text = {
        **plain.config["text_config"],
        "model_type": "glm4v_moe_text",
        "head_dim": 32,
        "moe_intermediate_size": 64,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "routed_scaling_factor": 1.0,
        "norm_topk_prob": True,
        "use_qk_norm": False,
    }
    return dataclasses.replace(
        plain,
        template=template,
        config={
            **plain.config,
            "architectures": ["Glm4vMoeForConditionalGeneration"],
            "model_type": "glm4v_moe",
            "text_config": text,
            "vision_config": {**plain.config["vision_config"], "model_type": "glm4v_moe_vision"},
        },
    )
