"""Kimi-VL, whose processors are code that comes along: in their place stands our own."""

from __future__ import annotations

from tests.support.models.checkpoint import OWN_PROCESSOR, TEXT, VISION, Checkpoint
from tests.support.models.templates import of_parts

_PROCESSOR = """
import math

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.processing_utils import ProcessorMixin


class OwnImageProcessor(BaseImageProcessor):
    model_input_names = ["pixel_values", "image_grid_hws"]

    def __init__(self, patch_size=14, merge_kernel_size=(2, 2), in_token_limit=4096, **more):
        super().__init__(**more)
        self.patch_size = patch_size
        self.merge_kernel_size = list(merge_kernel_size)
        self.in_token_limit = in_token_limit

    def preprocess(self, images, return_tensors=None, **more):
        images = images if isinstance(images, (list, tuple)) else [images]
        made = [self._patches(image) for image in images]
        grids = [grid for _, grid in made]
        return BatchFeature({
            "pixel_values": torch.cat([patches for patches, _ in made]),
            "image_grid_hws": torch.tensor(grids),
        })

    def _patches(self, image):
        "Of an image in whole places of the prompt: (N, 3, side, side), and rows and columns."
        side = self.patch_size
        patches = (image.width // side) * (image.height // side)
        if patches > self.in_token_limit:
            scale = math.sqrt(self.in_token_limit / patches)
            image = image.resize((int(image.width * scale), int(image.height * scale)))
        high, wide = (
            math.ceil(length / (side * merged)) * side * merged
            for length, merged in zip((image.height, image.width), self.merge_kernel_size)
        )
        whole = Image.new("RGB", (wide, high))
        whole.paste(image.convert("RGB"))
        pixels = torch.from_numpy(np.asarray(whole, np.float32)).permute(2, 0, 1) / 127.5 - 1
        cut = pixels.unfold(1, side, side).unfold(2, side, side)
        patches = cut.permute(1, 2, 0, 3, 4).reshape(-1, 3, side, side)
        return patches, [high // side, wide // side]


class OwnProcessor(ProcessorMixin):
    attributes = ["image_processor", "tokenizer"]
    image_processor_class = "AutoImageProcessor"
    tokenizer_class = "AutoTokenizer"
    image_token = "<|media_pad|>"

    def __init__(self, image_processor=None, tokenizer=None):
        super().__init__(image_processor, tokenizer)

    def __call__(self, text=None, images=None, return_tensors=None, **more):
        texts = [text] if isinstance(text, str) else list(text)
        made = {}
        if images:
            made = dict(self.image_processor(images))
            merged = math.prod(self.image_processor.merge_kernel_size)
            counts = iter((made["image_grid_hws"].prod(-1) // merged).tolist())
            for at, each in enumerate(texts):
                first, *rest = each.split(self.image_token)
                texts[at] = first + "".join(self.image_token * next(counts) + one for one in rest)
        return BatchFeature({**self.tokenizer(texts, return_tensors="pt"), **made})
"""


def kimi_vl() -> Checkpoint:
    """Kimi-VL, which takes images alone; its decoder keeps compressed keys and values."""
    control = (
        "[BOS]", "[EOS]", "[PAD]", "<|im_end|>", "<|im_system|>", "<|im_user|>",
        "<|im_assistant|>", "<|im_middle|>", "<|media_start|>", "<|media_content|>",
        "<|media_pad|>", "<|media_end|>",
    )  # fmt: skip
    return Checkpoint(
        control=control,
        template=of_parts(
            begin="<|im_{role}|>{role}<|im_middle|>",
            end="<|im_end|>",
            image="<|media_start|>image<|media_content|><|media_pad|><|media_end|>",
            answer="<|im_assistant|>assistant<|im_middle|>",
        ),
        config={
            "architectures": ["KimiVLForConditionalGeneration"],
            "model_type": "kimi_vl",
            "media_placeholder_token_id": "<|media_pad|>",
            "torch_dtype": "bfloat16",
            "text_config": {
                **TEXT,
                "model_type": "deepseek_v2",
                "num_key_value_heads": 4,
                "kv_lora_rank": 512,
                "q_lora_rank": None,
                "qk_nope_head_dim": 128,
                "qk_rope_head_dim": 64,
                "v_head_dim": 128,
                "first_k_dense_replace": 1,
                "moe_intermediate_size": 64,
                "n_routed_experts": 4,
                "n_shared_experts": 1,
                "num_experts_per_tok": 2,
                "n_group": 1,
                "topk_group": 1,
                "topk_method": "noaux_tc",
                "scoring_func": "sigmoid",
                "norm_topk_prob": True,
                "routed_scaling_factor": 2.446,
                "moe_layer_freq": 1,
                "rope_theta": 800_000.0,
                "bos_token_id": "[BOS]",
                "eos_token_id": "[EOS]",
            },
            "vision_config": {
                **VISION,
                "model_type": "moonvit",
                "patch_size": 14,
                "init_pos_emb_height": 64,
                "init_pos_emb_width": 64,
                "merge_kernel_size": [2, 2],
            },
        },
        tokenizer={"bos_token": "[BOS]", "eos_token": "[EOS]", "pad_token": "[PAD]"},
        files={
            "preprocessor_config.json": {
                **OWN_PROCESSOR,
                "patch_size": 14,
                "merge_kernel_size": [2, 2],
                "in_token_limit": 4096,
            }
        },
        code={"processing_own.py": _PROCESSOR.lstrip()},
    )
