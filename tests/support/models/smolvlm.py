"""SmolVLM2."""

from __future__ import annotations

from tests.support.models.checkpoint import HALF, TEXT, VISION, Checkpoint
from tests.support.models.others import RESIZED
from tests.support.models.qwen import CHAT
from tests.support.models.templates import of_parts


def smolvlm() -> Checkpoint:
    """SmolVLM2, whose processor needs a package that is not among the dependencies."""
    names = {"image_token": "<image>", "end_of_utterance_token": "<end_of_utterance>"}
    return Checkpoint(
        control=(
            *CHAT, "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>",
        ),
        template=of_parts(image="<image>"),
        config={
            "architectures": ["SmolVLMForConditionalGeneration"],
            "model_type": "smolvlm",
            "image_token_id": "<image>",
            "scale_factor": 4,
            "torch_dtype": "bfloat16",
            "text_config": {**TEXT, "model_type": "llama"},
            "vision_config": {
                **VISION,
                "model_type": "smolvlm_vision",
                "image_size": 512,
                "patch_size": 16,
            },
        },
        tokenizer={**names, "extra_special_tokens": names},
        files={
            "preprocessor_config.json": {
                **RESIZED,
                "image_mean": HALF,
                "image_std": HALF,
                "image_processor_type": "SmolVLMImageProcessor",
                "processor_class": "SmolVLMProcessor",
                "max_image_size": {"longest_edge": 512},
                "size": {"longest_edge": 2048},
            },
            "processor_config.json": {"image_seq_len": 64, "processor_class": "SmolVLMProcessor"},
        },
    )  # fmt: skip
