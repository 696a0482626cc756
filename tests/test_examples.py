"""What docs/recipes.md shows is what lies in examples/, and it runs as it is written."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rayjob.recipes import find_recipe
from rayjob.recipes.base import BaseRecipe
from rayjob.settings.loading import read_config
from rayjob.testing import ScriptedEngine, sample_video
from schemas.config import JobConfig
from tests.support.jobs import ROOT

PAGE = (ROOT / "docs/recipes.md").read_text()
EXAMPLES = sorted((ROOT / "examples").glob("*.*"))
BLOCKS = re.findall(r"```(?:python|yaml)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_page_shows_the_files(path: Path) -> None:
    assert path.read_text() in BLOCKS


def test_a_recipe_is_short() -> None:
    assert len((ROOT / "examples/plain_words.py").read_text().splitlines()) <= 15


def test_the_example_s_test_runs_anywhere(tmp_path: Path) -> None:
    for path in EXAMPLES:
        shutil.copy(path, tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_job_file_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = read_config(JobConfig, "examples/plain_words.yaml", flags={})
    recipe = find_recipe(config.recipe.name)(config.recipe, model=config.engine.model)
    assert recipe.generation.max_tokens == 96
    assert (recipe.name, recipe.model) == ("plain-words", "models/tiny-omni")


async def test_more_than_one_question(tmp_path: Path) -> None:
    """The page's other block, below the first."""
    (block,) = [block for block in BLOCKS if "class SeenAndHeard" in block]
    first = (ROOT / "examples/plain_words.py").read_text()
    (tmp_path / "both.py").write_text(f"{first}\n\n{block}")
    recipe = find_recipe(f"{tmp_path}/both.py:SeenAndHeard")()
    engine = ScriptedEngine(["A square moves.", "It hums."])
    (row,) = await recipe.caption(sample_video(recipe.plan), engine)
    assert row.caption == "A square moves. It hums."
    assert row.output_tokens == 7
    assert [request.prompt for request in engine.requests] == [recipe.prompt, "What is heard?"]


def test_every_attribute_is_told() -> None:
    told = re.findall(r"^\| `(\w+)` \| ", PAGE, re.MULTILINE)
    assert told == list(BaseRecipe.__annotations__)
