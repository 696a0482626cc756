"""Ovis2.5, whose configuration is code that comes along: in its place stands our own."""

from __future__ import annotations

from tests.support.models.checkpoint import HALF, TEXT, VISION, Checkpoint
from tests.support.models.qwen import CHAT
from tests.support.models.templates import of_parts

_CONFIGURATION = """
from transformers import PretrainedConfig, Qwen3Config


class VisionConfig(PretrainedConfig):
    model_type = "siglip2_navit"


class OwnConfig(PretrainedConfig):
    model_type = "ovis2_5"

    def __init__(self, llm_config=None, vit_config=None, **more):
        self.text_config = Qwen3Config(**(llm_config or {}))
        self.vit_config = VisionConfig(**(vit_config or {}))
        super().__init__(**more)

    def get_text_config(self, *args, **kwargs):
        return self.text_config
"""


def ovis25() -> Checkpoint:
    """Ovis2.5, with the switch for thinking of the Qwen3 inside of it."""
    answer = "<|im_start|>assistant\n"
    silent = (
        "{%- if enable_thinking is defined and enable_thinking is false -%}"
        "{{ '<think>\n\n</think>\n\n' }}{%- endif -%}"
    )
    template = of_parts(image="<image>\n", video="<video>\n", answer=answer)
    begun = f"{{{{ {answer!r} }}}}"
    return Checkpoint(
        control=(
            *CHAT, "<image>", "<video>", "<ovis_visual_atom>", "<ovis_image_start>",
            "<ovis_image_end>", "<ovis_video_start>", "<ovis_video_end>", "<|image_pad|>",
            "<think>", "</think>",
        ),
        template=template.replace(begun, begun + silent),
        config={
            "architectures": ["Ovis2_5"],
            "auto_map": {"AutoConfig": "configuration_own.OwnConfig"},
            "model_type": "ovis2_5",
            "hidden_size": TEXT["hidden_size"],
            "visual_vocab_size": 256,
            "torch_dtype": "bfloat16",
            "llm_config": {**TEXT, "model_type": "qwen3", "head_dim": 32},
            "vit_config": {
                **VISION,
                "attention_dropout": 0.0,
                "fullatt_block_indexes": None,
                "hidden_act": "gelu_pytorch_tanh",
                "hidden_stride": 2,
                "image_size": 512,
                "layer_norm_eps": 1e-6,
                "num_channels": 3,
                "num_patches": -1,
                "patch_size": 16,
                "preserve_original_pe": True,
                "temporal_patch_size": 1,
                "use_rope": True,
                "window_size": 112,
            },
        },
        files={
            "preprocessor_config.json": {
                "image_processor_type": "SiglipImageProcessor",
                "image_mean": HALF,
                "image_std": HALF,
                "do_resize": True,
                "do_rescale": True,
                "do_normalize": True,
                "size": {"height": 512, "width": 512},
            }
        },
        code={"configuration_own.py": _CONFIGURATION.lstrip()},
    )  # fmt: skip
