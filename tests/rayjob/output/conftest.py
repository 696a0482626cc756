"""Empty outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayjob.output.store import TableStore
from tests.support.outputs import KINDS, open_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TableStore:
    return open_store(request.param, request, tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path / "out")
