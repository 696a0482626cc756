"""Loading an engine's model."""

from __future__ import annotations

import gc

import pytest

from actors.engine.loading import without_collections


def test_what_was_imported_is_not_searched_for_garbage_any_more() -> None:
    try:
        with without_collections():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_garbage_is_collected_again_where_loading_fails() -> None:
    with pytest.raises(ValueError), without_collections():
        raise ValueError
    assert gc.isenabled()
