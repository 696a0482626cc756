"""Configuration of what is listed: which files and rows are inputs."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field, PositiveInt, field_validator

from schemas.settings import LISTED, Flag, Settings, Unset

VIDEO_EXTENSIONS = (
    "mp4", "mov", "m4v", "mkv", "webm", "avi", "flv", "ts", "mts", "m2ts",
    "mpg", "mpeg", "wmv", "3gp", "ogv", "gif", "mxf",
)  # fmt: skip


class LengthsConfig(Settings):
    """As many videos of each range of lengths, drawn by seed and id."""

    edges_sec: tuple[float, ...] = Field(min_length=2)
    """Where the ranges begin, and the last one ends; videos of other lengths are left out."""
    count: PositiveInt
    """Videos in all."""
    seed: int = 42
    """Another one draws others."""
    column: str = "duration_sec"
    """Of the manifests: each video's length in seconds."""

    @field_validator("edges_sec")
    @classmethod
    def _rise(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value[0] < 0 or any(low >= high for low, high in pairwise(value)):
            raise ValueError("the edges are not negative, and rise")
        return value


class SourceConfig(Settings):
    """Which of the files and rows that are listed are inputs."""

    extensions: Annotated[tuple[str, ...], LISTED, Flag("--extensions", metavar="LIST")] = (
        VIDEO_EXTENSIONS
    )
    """Endings of the files to take from folders and prefixes, such as mp4,mkv; '*' takes all."""
    lengths: Annotated[LengthsConfig | None, Unset("all")] = None
    """An even selection by length."""

    @field_validator("extensions")
    @classmethod
    def _normalise(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(extension.lower().lstrip(".") for extension in value)
