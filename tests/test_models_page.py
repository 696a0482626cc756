"""docs/models.md says what the families of models are shown today, and what they answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.models.families import NAMES
from tests.support.models.matrix import PAGE, lines_of_page, page_with, row


def test_the_table_of_models_has_a_line_for_each_family() -> None:
    lines = lines_of_page()
    assert tuple(lines) == NAMES
    assert PAGE.read_text("utf-8") == page_with(lines)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
def test_a_line_of_it_is_current(name: str, tmp_path: Path) -> None:
    assert lines_of_page()[name] == row(name, tmp_path / "model")
