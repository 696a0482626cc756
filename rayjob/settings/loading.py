"""Configuration of a command: YAML file, then ``--set``, then flags; the later wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from schemas.errors import ConfigError
from schemas.settings import Settings, explain, group_of

_Config = TypeVar("_Config", bound=Settings)


def read_config(
    kind: type[_Config],
    path: str | None = None,
    *,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any] = {},
) -> _Config:
    """Build a command's configuration.

    Args:
        path: YAML file, or None.
        assignments: ``dotted.key=value`` strings; the value is read as YAML.
        flags: dotted key -> value of a flag that was given.

    Raises:
        ConfigError: with one line per mistake.
    """
    data = {} if path is None else read_mapping(path, "the configuration")
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {assignment!r}: write it as key=value")
        try:
            _assign(kind, data, key.strip(), yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment!r}: the value is not YAML: {error}") from error
    for key, value in flags.items():
        _assign(kind, data, key, value)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain(error, kind)) from error


def read_mapping(path: str, what: str) -> dict[str, Any]:
    """A YAML file of keys and values.

    Args:
        what: what the file is, for messages.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    try:
        data = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} {path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{what} {path} is not a mapping of settings to values")
    return data


def _assign(kind: type[Settings], data: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    group: type[Settings] | None = kind
    for parent in parents:
        group = group_of(group.model_fields.get(parent)) if group is not None else None
        inner = data.get(parent)
        if inner is None:
            inner = {}
        elif group is not None:
            inner = group.spelled_out(inner)
        if not isinstance(inner, dict):
            raise ConfigError(f"{dotted}: {parent} is set to a single value elsewhere")
        data[parent] = inner
        data = inner
    data[last] = value
