"""A configuration fit to be stored and shown: without anything that could be a secret."""

from __future__ import annotations

import re
from typing import Any

from actors.storage.uris import display_uri

_SECRET = re.compile(r"token$|secret|password|passwd|api_?key|credential", re.IGNORECASE)
HIDDEN = "(hidden)"


def shown_config(value: Any, *, key: str = "") -> Any:
    """The configuration with secrets left out.

    A run's configuration has no place for credentials, but a URL may carry some, and
    ``engine.vllm_args`` takes what the user puts there.
    """
    if isinstance(value, dict):
        return {name: shown_config(item, key=str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [shown_config(item, key=key) for item in value]
    if _SECRET.search(key) and isinstance(value, str) and value:
        return HIDDEN
    return display_uri(value) if isinstance(value, str) else value
