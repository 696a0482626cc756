"""Writes the table of fields in docs/structured.md from the pydantic model.

python tools/schema_table.py            # rewrite the page
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from schemas.structured import StructuredCaption

PAGE = Path(__file__).parent.parent / "docs" / "structured.md"
_BOUNDS = {"min_length": "at least", "max_length": "at most"}
_PLACE = re.compile(r"(?<=<!-- fields -->\n).*?(?=<!-- /fields -->)", re.DOTALL)


def table() -> str:
    """All fields as a Markdown table, in the order in which a captioning model writes them."""
    lines = ["| field | type | meaning |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in _rows(StructuredCaption)]
    return "\n".join(lines) + "\n"


def updated(page: str) -> str:
    """The page with the table as the model is now.

    Raises:
        ValueError: the page has no place for it.
    """
    if not _PLACE.search(page):
        raise ValueError("the page has no lines <!-- fields --> and <!-- /fields -->")
    return _PLACE.sub(lambda _: table(), page)


def _rows(model: type[BaseModel], within: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        annotation: Any = field.annotation
        path = f"{within}{name}"
        inner = get_args(annotation)[0] if get_origin(annotation) is list else annotation
        is_model = isinstance(inner, type) and issubclass(inner, BaseModel)
        meaning = field.description or (inner.__doc__ if is_model else "") or ""
        yield f"`{path}`", _type(annotation, field.metadata), meaning.strip()
        if is_model:
            yield from _rows(inner, f"{path}{'' if inner is annotation else '[]'}.")


def _type(annotation: Any, metadata: list[Any]) -> str:
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is list:
        bounds = {
            name: getattr(rule, name)
            for rule in metadata
            for name in _BOUNDS
            if hasattr(rule, name)
        }
        return ", ".join(
            ["list", *(f"{_BOUNDS[name]} {bounds[name]}" for name in _BOUNDS if name in bounds)]
        )
    if issubclass(annotation, BaseModel):
        return "object"
    return {str: "text", bool: "true or false"}[annotation]


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
