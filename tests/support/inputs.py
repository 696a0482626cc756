"""Inputs as a run lists them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rayjob.inputs.listing import Input, iter_inputs
from schemas.errors import SourceError
from schemas.media import StorageOptions
from schemas.sources import SourceConfig


def stream(
    *inputs: str | Path,
    extensions: tuple[str, ...] | None = None,
    storage: StorageOptions | None = None,
) -> Iterator[Input]:
    source = SourceConfig() if extensions is None else SourceConfig(extensions=extensions)
    return iter_inputs(
        [str(each) for each in inputs],
        source=source,
        storage=storage or StorageOptions(),
    )


def listed(*inputs: str | Path, **options: Any) -> list[Input]:
    return list(stream(*inputs, **options))


def ids(*inputs: str | Path, **options: Any) -> list[str]:
    return [each.video_id for each in stream(*inputs, **options)]


def failure(*inputs: str | Path, **options: Any) -> str:
    with pytest.raises(SourceError) as caught:
        listed(*inputs, **options)
    return str(caught.value)


def moto(url: str, **options: Any) -> StorageOptions:
    return StorageOptions(endpoint_url=url, **options)
