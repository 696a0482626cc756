"""MiniCPM-V 2.6 and MiniCPM-o 4.5: configuration and image processor are code that comes along.

That code is not here: in its place stands our own, of the same interface, as far as vLLM uses it.
"""

from __future__ import annotations

import dataclasses

from tests.support.models.checkpoint import OWN_PROCESSOR, TEXT, VISION, Checkpoint
from tests.support.models.qwen import CHAT
from tests.support.models.templates import of_strings

_CONFIGURATION = """
from transformers import Qwen2Config, SiglipVisionConfig


class OwnConfig(Qwen2Config):
    model_type = "minicpmv"

    def __init__(self, vision_config=None, **more):
        super().__init__(**more)
        self.vision_config = SiglipVisionConfig(**(vision_config or {}))
"""

_PROCESSOR = """
import math

import numpy as np
import torch
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.processing_utils import ProcessorMixin


class OwnProcessor(ProcessorMixin):
    "Holds the two; vLLM has its own in the place of the vendor's."

    attributes = ["image_processor", "tokenizer"]
    image_processor_class = "AutoImageProcessor"
    tokenizer_class = "AutoTokenizer"

    def __init__(self, image_processor=None, tokenizer=None):
        super().__init__(image_processor, tokenizer)


class OwnImageProcessor(BaseImageProcessor):
    model_input_names = ["pixel_values"]
    im_id_start, im_id_end = "<image_id>", "</image_id>"

    def __init__(self, max_slice_nums=9, scale_resolution=448, patch_size=14,
                 image_feature_size=64, **more):
        super().__init__(**more)
        self.max_slice_nums = max_slice_nums
        self.scale_resolution = scale_resolution
        self.patch_size = patch_size
        self.image_feature_size = image_feature_size

    def get_sliced_grid(self, image_size, max_slice_nums=None):
        "Columns and rows of slices beside the whole image; None for none."
        wide, high = image_size
        slices = math.ceil(wide * high / self.scale_resolution**2)
        slices = min(slices, max_slice_nums or self.max_slice_nums)
        if slices <= 1:
            return None
        grids = [(each, slices // each) for each in range(1, slices + 1) if slices % each == 0]
        return min(grids, key=lambda grid: abs(math.log(wide / high) - math.log(grid[0] / grid[1])))

    def get_slice_image_placeholder(self, image_size, image_idx=0, max_slice_nums=None,
                                    use_image_id=True):
        tokens = "<unk>" * self.image_feature_size
        text = f"<image_id>{image_idx}</image_id>" if use_image_id else ""
        text += f"<image>{tokens}</image>"
        columns, rows = self.get_sliced_grid(image_size, max_slice_nums) or (0, 0)
        return text + "\\n".join([f"<slice>{tokens}</slice>" * columns] * rows)

    def preprocess(self, images, do_pad=True, return_tensors=None, max_slice_nums=None, **more):
        made = {"pixel_values": [], "image_sizes": [], "tgt_sizes": []}
        for shown in images:
            slices = [each for image in shown for each in self._slices(image, max_slice_nums)]
            made["pixel_values"].append([self._patches(each) for each in slices])
            made["image_sizes"].append([image.size for image in map(self._image, shown)])
            sizes = [[each.shape[1] // self.patch_size, each.shape[2] // self.patch_size]
                     for each in slices]
            made["tgt_sizes"].append(torch.tensor(sizes, dtype=torch.int32))
        return BatchFeature(made)

    def _image(self, image):
        from PIL import Image

        return image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))

    def _slices(self, image, max_slice_nums):
        image = self._image(image).convert("RGB")
        columns, rows = self.get_sliced_grid(image.size, max_slice_nums) or (0, 0)
        return [self._pixels(image)] * (1 + columns * rows)

    def _pixels(self, image):
        "Of about as many pixels as a slice has, in whole patches; (3, H, W) from -1 to 1."
        scale = self.scale_resolution / math.sqrt(image.width * image.height)
        size = [max(1, round(side * scale / self.patch_size)) * self.patch_size
                for side in image.size]
        pixels = torch.from_numpy(np.asarray(image.resize(size), np.float32))
        return (pixels / 127.5 - 1).permute(2, 0, 1)

    def _patches(self, pixels):
        side = self.patch_size
        cut = pixels.unfold(1, side, side).unfold(2, side, side)
        return cut.permute(0, 3, 1, 2, 4).reshape(3, side, -1)
"""


_HEARS = """
from transformers import Qwen3Config, SiglipVisionConfig, WhisperConfig


class OwnConfig(Qwen3Config):
    model_type = "minicpmo"

    def __init__(self, vision_config=None, audio_config=None, **more):
        super().__init__(**more)
        self.vision_config = SiglipVisionConfig(**(vision_config or {}))
        self.audio_config = WhisperConfig(**(audio_config or {}))
"""

_HEARING = """

class OwnHearingProcessor(ProcessorMixin):
    attributes = ["image_processor", "feature_extractor", "tokenizer"]
    image_processor_class = "AutoImageProcessor"
    feature_extractor_class = "WhisperFeatureExtractor"
    tokenizer_class = "AutoTokenizer"

    def __init__(self, image_processor=None, feature_extractor=None, tokenizer=None):
        super().__init__(image_processor, feature_extractor, tokenizer)
"""


def minicpmv() -> Checkpoint:
    """MiniCPM-V 2.6."""
    control = (
        *CHAT, "<unk>", "<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>",
        "<im_start>", "<im_end>",
    )  # fmt: skip
    return Checkpoint(
        control=control,
        template=of_strings(),
        config={
            **TEXT,
            "architectures": ["MiniCPMV"],
            "auto_map": {"AutoConfig": "configuration_own.OwnConfig"},
            "model_type": "minicpmv",
            "version": 2.6,
            "query_num": 64,
            "image_size": 448,
            "drop_vision_last_layer": False,
            "bos_token_id": "<|im_start|>",
            "eos_token_id": "<|im_end|>",
            "vision_config": {
                **VISION,
                "model_type": "siglip_vision_model",
                "image_size": 980,
                "patch_size": 14,
            },
        },
        tokenizer={"bos_token": "<|im_start|>", "unk_token": "<unk>"},
        files={
            "preprocessor_config.json": {
                **OWN_PROCESSOR,
                "max_slice_nums": 9,
                "scale_resolution": 448,
                "patch_size": 14,
                "image_feature_size": 64,
            }
        },
        code={
            "configuration_own.py": _CONFIGURATION.lstrip(),
            "processing_own.py": _PROCESSOR.lstrip(),
        },
    )


def minicpmo() -> Checkpoint:
    """MiniCPM-o 4.5, which hears as well. Its tokenizer is code too: what of it vLLM uses is names
    of control tokens, which are settings here.
    """
    plain = minicpmv()
    sounds = ("<|audio_start|>", "<|audio_end|>", "<|spk_bos|>", "<|spk_eos|>")
    names = {
        "im_start": "<image>",
        "im_end": "</image>",
        "slice_start": "<slice>",
        "slice_end": "</slice>",
        "audio_start": "<|audio_start|>",
        "audio_end": "<|audio_end|>",
        "spk_start": "<|spk_bos|>",
        "spk_end": "<|spk_eos|>",
    }
    processor = plain.files["preprocessor_config.json"]
    return dataclasses.replace(
        plain,
        control=(*plain.control, *sounds, "<think>", "</think>"),
        template=of_strings(thinks=True),
        config={
            **plain.config,
            "architectures": ["MiniCPMO"],
            "model_type": "minicpmo",
            "version": 4.5,
            "head_dim": 32,
            "audio_pool_step": 5,
            "audio_chunk_length": 1.0,
            "init_audio": True,
            "init_tts": False,
            "init_vision": True,
            "audio_config": {
                "model_type": "whisper",
                "d_model": 64,
                "encoder_layers": 2,
                "encoder_ffn_dim": 256,
                "encoder_attention_heads": 2,
                "num_mel_bins": 80,
                "max_source_positions": 1500,
            },
        },
        tokenizer={**plain.tokenizer, "extra_special_tokens": names},
        files={
            "preprocessor_config.json": {
                **processor,
                "auto_map": {
                    **processor["auto_map"],
                    "AutoProcessor": "processing_own.OwnHearingProcessor",
                },
                "processor_class": "OwnHearingProcessor",
                "feature_extractor_type": "WhisperFeatureExtractor",
                "feature_size": 80,
                "sampling_rate": 16_000,
                "hop_length": 160,
                "n_fft": 400,
                "chunk_length": 30,
                "padding_value": 0.0,
                "return_attention_mask": True,
            }
        },
        code={
            "configuration_own.py": _HEARS.lstrip(),
            "processing_own.py": (_PROCESSOR + _HEARING).lstrip(),
        },
    )
