"""The page of the settings, which is written from their models."""

from __future__ import annotations

import re

import pytest

from rayjob.evaluation.config import EvaluateConfig
from rayjob.report import ReportConfig
from schemas.config import FuseConfig, JobConfig, NightConfig
from schemas.settings import Settings, settings_of
from tools.settings_page import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text("utf-8") == page(), "run python -m tools.settings_page"


@pytest.mark.parametrize("kind", [JobConfig, NightConfig, FuseConfig, EvaluateConfig, ReportConfig])
def test_every_setting_is_on_the_page_with_its_meaning(kind: type[Settings]) -> None:
    rows = dict(re.findall(r"^\| `(\S+)` \| .*?\| ([^|]*) \|[^|]*\|$", page(), re.MULTILINE))
    for setting in settings_of(kind):
        if setting.group is None:
            assert setting.key in rows
            assert setting.meaning.endswith("."), f"{setting.key} is not described"


@pytest.mark.parametrize("kind", [JobConfig, NightConfig, FuseConfig, EvaluateConfig, ReportConfig])
def test_no_two_settings_share_a_flag(kind: type[Settings]) -> None:
    names = [name for each in settings_of(kind) if each.flag for name in each.flag.names]
    assert len(names) == len(set(names))
