"""The families that are tried, by the names that the documentation gives them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.support.models.checkpoint import TEXT, Checkpoint
from tests.support.models.glm import glm41v, glm45v
from tests.support.models.kimi import kimi_vl
from tests.support.models.minicpm import minicpmo, minicpmv
from tests.support.models.others import gemma3, internvl, llava_onevision, mistral3
from tests.support.models.ovis import ovis25
from tests.support.models.qwen import (
    CHAT,
    gpt_oss,
    qwen3_omni,
    qwen3_text,
    qwen3_vl,
    qwen25_vl,
    qwen35,
)
from tests.support.models.templates import of_strings
from tests.support.renderers import OMNI


def text_of(architecture: str, kind: str) -> Checkpoint:
    """A plain model of texts."""
    return Checkpoint(
        control=CHAT,
        template=of_strings(),
        config={
            **TEXT,
            "architectures": [architecture],
            "model_type": kind,
            "rope_theta": 1e6,
            "bos_token_id": "<|endoftext|>",
            "eos_token_id": "<|im_end|>",
        },
    )


SEEING: dict[str, Callable[[], Checkpoint]] = {
    "Qwen2.5-VL": qwen25_vl,
    "Qwen3-VL": partial(qwen3_vl, samples=True),
    "Qwen3-VL with experts": partial(qwen3_vl, experts=True),
    "Qwen3.5": qwen35,
    "Qwen3-Omni": qwen3_omni,
    "InternVL3 and 3.5": internvl,
    "LLaVA-OneVision": llava_onevision,
    "MiniCPM-V 2.6": minicpmv,
    "MiniCPM-o 4.5": minicpmo,
    "Ovis2.5": ovis25,
    "Gemma 3": gemma3,
    "GLM-4.1V": glm41v,
    "GLM-4.5V": glm45v,
    "Mistral 3": mistral3,
    "Kimi-VL": kimi_vl,
}

TEXTS: dict[str, Callable[[], Checkpoint]] = {
    "Qwen2.5": partial(text_of, "Qwen2ForCausalLM", "qwen2"),
    "Qwen3": qwen3_text,
    "Llama 3": partial(text_of, "LlamaForCausalLM", "llama"),
    "gpt-oss": gpt_oss,
}

EMBEDDED = "Qwen2.5-Omni"
"""Comes with the repository, with weights."""

NAMES = (EMBEDDED, *SEEING, *TEXTS)


def write_family(name: str, folder: Path) -> Path:
    """Write the checkpoint of a family."""
    if name == EMBEDDED:
        return Path(shutil.copytree(OMNI, folder))
    return (SEEING | TEXTS)[name]().write(folder)
