"""Writes the tables of columns and fields in docs/tables.md from the schemas.

python tools/tables_page.py            # rewrite the page
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from rayjob.output.summary import RunSummary
from schemas.tables import CaptionRow, Column, FailureRow, SegmentRow, columns_of

PAGE = Path(__file__).parent.parent / "docs" / "tables.md"


def tables() -> dict[str, str]:
    """The page's generated tables in Markdown, by the name of their place."""
    return {
        "captions": _columns(columns_of(CaptionRow)),
        "segments": _columns(columns_of(SegmentRow)),
        "failures": _columns(columns_of(FailureRow)),
        "summary": _table(
            ("field", "meaning"),
            ((name, field.description or "") for name, field in RunSummary.model_fields.items()),
        ),
    }


def updated(page: str) -> str:
    """The page with the tables as the schemas are now.

    Raises:
        ValueError: the page has no place for one.
    """
    for name, table in tables().items():
        before, start, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not start or not end:
            raise ValueError(f"the page has no lines <!-- {name} --> and <!-- /{name} -->")
        page = f"{before}{start}{table}{end}{after}"
    return page


def _columns(columns: Iterable[Column]) -> str:
    return _table(
        ("column", "type", "meaning"),
        ((each.name, _type(each), each.meaning) for each in columns),
    )


def _type(column: Column) -> str:
    if pa.types.is_list(column.type):
        return f"list of {column.type.value_type}s{' or null' * column.nullable}"
    text = "struct" if pa.types.is_struct(column.type) else re.sub(r"\[.*", "", str(column.type))
    return f"{text} or null" if column.nullable else text


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *((f"`{name}`", *rest) for name, *rest in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
