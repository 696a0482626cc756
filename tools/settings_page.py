"""Writes docs/settings.md from the models of the settings.

python -m tools.settings_page           # rewrite the page
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from rayjob.evaluation.config import EvaluateConfig
from rayjob.export import ExportConfig
from rayjob.recipes import BUILT_IN, find_recipe
from rayjob.report import ReportConfig
from schemas.config import FuseConfig, JobConfig, NightConfig
from schemas.settings import Setting, settings_of
from schemas.splitting import SplitConfig

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"

_INTRODUCTION = """\
# Settings

Every setting of every command, written from the models in the code by
`python -m tools.settings_page`; a test says that this page is current.

A setting comes from a YAML file (`--config job.yaml`), from `--set engine.dtype=bfloat16` with its
dotted name, or from its flag, where it has one. Flags win over `--set`, and `--set` over the file.
In the file the parts of a dotted name are nested:

```yaml
input: s3://videos/2026/
output: s3://captions/ugc
recipe: structured
engine:
  gpus_per_engine: 0.5
  vllm_args: {gpu_memory_utilization: 0.6}
```

A name that does not exist is refused, and the nearest one is named. `rayjob plan` reads the file
of a `rayjob caption` job; its own flags are in `rayjob plan --help`.

What a run stores and shows of its settings holds no secrets: of texts in `engine.vllm_args`,
`engine.mm_processor_kwargs` and `recipe.options` only those with well-known names are shown, and
addresses lose user, password and query.
"""

_COMMANDS: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("caption", JobConfig, ""),
    ("nightly", NightConfig, "Those of `rayjob caption`, where two differ:"),
    (
        "fuse",
        FuseConfig,
        "Those of `rayjob caption` but for `decode` and `source`. What differs:",
    ),
    (
        "split",
        SplitConfig,
        "Its `decode`, `source`, `storage`, `shards` and `health` are as for `rayjob caption`.",
    ),
    (
        "evaluate",
        EvaluateConfig,
        "Its `engine` (of a local judge; without flags) and `storage` are as for `rayjob caption`.",
    ),
    ("export", ExportConfig, "Its `storage` is as for `rayjob caption`."),
    ("report", ReportConfig, "Its `storage` is as for `rayjob caption`."),
)

_NAMES = {
    int: "whole number", float: "number", str: "text", bool: "true or false", dict: "mapping",
}  # fmt: skip
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    of_caption = {_row(setting) for setting in settings_of(JobConfig) if not setting.group}
    for name, kind, introduction in _COMMANDS:
        parts.append(f"## rayjob {name}\n")
        if introduction:
            parts.append(f"{introduction}\n")
        parts += _tables(kind, known=set() if kind is JobConfig else of_caption)
    parts.append("## recipe.options\n\nWhat only one recipe has.\n")
    for name in BUILT_IN:
        options = type(find_recipe(name).options)
        if options.model_fields:
            parts.append(f"### of {name}\n")
            parts.append(_table(settings_of(options, "recipe.options."), known=set()))
    return "\n".join(parts)


def _tables(kind: type[BaseModel], *, known: set[tuple[str, ...]]) -> Iterator[str]:
    settings = list(settings_of(kind))
    groups = [("", kind.__doc__ or "")]
    groups += [(f"{each.key}.", _about(each)) for each in settings if each.group]
    for prefix, about in groups:
        inside = (
            each
            for each in settings
            if each.key.startswith(prefix) and "." not in each.key[len(prefix) :] and not each.group
        )
        if table := _table(inside, known=known):
            if prefix:
                yield f"### {prefix[:-1]}\n\n{about}\n"
            yield table


def _about(setting: Setting) -> str:
    assert setting.group is not None
    sentences = " ".join((setting.group.__doc__ or "").split("\n\nAttributes:")[0].split())
    parts = [setting.meaning, sentences.replace("``", "`")]
    if setting.field.default is None:
        parts.append(f"By default: {setting.default}.")
    return " ".join(part for part in parts if part)


def _table(settings: Iterator[Setting], *, known: set[tuple[str, ...]]) -> str:
    rows = [f"| {' | '.join(_row(each))} | {_flags(each)} |" for each in settings
            if _row(each) not in known]  # fmt: skip
    head = ["| setting | type | default | meaning | flag |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, ""]) if rows else ""


def _row(setting: Setting) -> tuple[str, ...]:
    default = setting.default or ("required" if setting.field.is_required() else "")
    meaning = setting.meaning
    if meaning and not meaning.endswith("."):
        # A recipe's options may be described by a part of a sentence.
        meaning = f"{meaning[0].upper()}{meaning[1:]}."
    return f"`{setting.key}`", _type(setting), default, meaning


def _flags(setting: Setting) -> str:
    return ", ".join(f"`{name}`" for name in setting.flag.names) if setting.flag else ""


def _type(setting: Setting) -> str:
    field = setting.field
    inner = (getattr(each, "__metadata__", ()) for each in get_args(field.annotation))
    bounds = [
        f"{sign} {getattr(rule, name):,}"
        for rule in itertools.chain(field.metadata, *inner)
        for name, sign in _BOUNDS.items()
        if getattr(rule, name, None) is not None
    ]
    return " ".join([_kind(setting.value_type), " and ".join(bounds)]).strip()


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in arguments)
    if origin is tuple:
        number = "several" if ... in arguments else {2: "two"}[len(arguments)]
        return f"{number} {_kind(arguments[0])}s"
    return _NAMES[origin or annotation]


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
