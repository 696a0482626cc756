"""docs/models.md says what the families of models are shown today."""

from __future__ import annotations

import pytest

from tests.support.models.matrix import PAGE, matrix, page_with


@pytest.mark.slow
def test_the_table_of_models_is_current() -> None:
    table = matrix()
    assert PAGE.read_text("utf-8") == page_with(table), table
