"""Pages that make claims name tests behind each, and these exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {
    "reliability": (r"\| guarantee \| tests \|", 40),
    "published": (r"\| published \| ours \| why \| tests \|", 40),
}
"""Page -> the head of its tables of claims, and fewer rows than they have together."""


def page(name: str) -> str:
    return (ROOT / f"docs/{name}.md").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_every_test_that_the_page_names_exists(name: str) -> None:
    named = re.findall(r"`(tests/[^`:]+\.py)(?:::(\w+))?`", page(name))
    assert len(named) > 60
    missing = [
        f"{path}::{test}"
        for path, test in named
        if not (ROOT / path).is_file()
        or not re.search(
            rf"^(async )?def {test or 'test_[a-z0-9_]+'}[(]", (ROOT / path).read_text(), re.M
        )
    ]
    assert missing == []


@pytest.mark.parametrize(("name", "head", "rows"), [(name, *each) for name, each in PAGES.items()])
def test_every_claim_has_a_test(name: str, head: str, rows: int) -> None:
    tables = re.findall(rf"^{head}\n[|-]+\n((?:\|.*\n)+)", page(name), re.M)
    lines = [line for each in tables for line in each.splitlines()]
    assert len(lines) > rows
    assert [line for line in lines if "`tests/" not in line] == []
