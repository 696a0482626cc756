"""Configuration of a run: YAML file, then ``--set``, then flags; the later wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rayjob.settings.redaction import shown_config
from schemas.config import JobConfig
from schemas.errors import ConfigError

_Config = TypeVar("_Config", bound=BaseModel)


def load_config(
    path: str | None, *, assignments: Sequence[str] = (), flags: Mapping[str, Any]
) -> JobConfig:
    """Build a captioning job's configuration; see :func:`read_config`."""
    return read_config(JobConfig, path, assignments=assignments, flags=flags)


def read_config(
    kind: type[_Config],
    path: str | None,
    *,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any],
) -> _Config:
    """Build a command's configuration.

    Args:
        path: YAML file, or None.
        assignments: ``dotted.key=value`` strings; the value is read as YAML.
        flags: dotted key -> value of a flag that was given.

    Raises:
        ConfigError: with one line per mistake.
    """
    data: dict[str, Any] = _read(path) if path is not None else {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {assignment!r}: write it as key=value")
        try:
            _assign(data, key.strip(), yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment!r}: the value is no YAML: {error}") from error
    for key, value in flags.items():
        _assign(data, key, value)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def _read(path: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"the configuration {path} is no valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"the configuration {path} is no mapping of keys to values")
    return data


def _assign(data: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    if parents and isinstance(data.get("recipe"), str):
        # The short form; later settings may still change the recipe's others.
        data["recipe"] = {"name": data["recipe"]}
    for parent in parents:
        inner = data.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{dotted}: {parent} is set to a single value elsewhere")
        data = inner
    data[last] = value


_MISSING = {
    "input": "no input: pass --input (a file, folder, glob, s3:// prefix or manifest)",
    "output": "no output: pass --output (a folder or an s3:// prefix)",
}


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "missing" and key in _MISSING:
            lines.append(_MISSING[key])
        elif item["type"] == "extra_forbidden":
            lines.append(f"{key}: there is no such setting")
        else:
            message = item["msg"].removeprefix("Value error, ")
            given = shown_config(item["input"], key=key)
            lines.append(f"{key}: {message} (got {given!r})" if key else message)
    return "\n".join(lines)
