"""The page of guarantees names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[^`:]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 60
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file()
        or not re.search(
            rf"^(async )?def {name or 'test_[a-z0-9_]+'}[(]", (ROOT / path).read_text(), re.M
        )
    ]
    assert missing == []


def test_every_guarantee_has_a_test() -> None:
    rows = re.findall(r"^\| guarantee \| tests \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.M)
    lines = [line for each in rows for line in each.splitlines()]
    assert len(lines) > 40
    assert [line for line in lines if "`tests/" not in line] == []
