"""Recipes by name, from files and from packages, and what a wrong one says."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from ray import cloudpickle

from rayjob import recipes
from rayjob.recipes import find_recipe
from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.omni import Omni
from rayjob.testing import ScriptedEngine, sample_video
from schemas.config import RecipeConfig
from schemas.errors import ConfigError
from tests.support import jobs

SHOUT = """
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel

from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.rules import non_empty


class ShoutOptions(BaseModel):
    mark: Literal["!", "?"] = "!"


def loud(answer):
    return None if answer.text.isupper() else "too quiet"


class Shout(BaseRecipe):
    name = "shout"
    model = "m"
    prompt = "prompts/shout.txt"
    rules = (non_empty, loud)
    options = ShoutOptions()

    async def caption(self, video, engine):
        (row,) = await super().caption(video, engine)
        return [replace(row, caption=row.caption + self.options.mark)]
"""

WORKER = """
import asyncio, pickle, sys
from rayjob.testing import ScriptedEngine, sample_video
recipe = pickle.load(sys.stdin.buffer)
engine = ScriptedEngine(["a dog", "A DOG"])
(row,) = asyncio.run(recipe.caption(sample_video(recipe.plan), engine))
print(row.caption, row.attempts, engine.requests[0].prompt, recipe.name)
"""


@pytest.fixture
def shout(tmp_path: Path) -> Iterator[Path]:
    """A recipe's file with its prompt beside it."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/shout.txt").write_text("What is there? Shout.\n")
    path = tmp_path / "my-shout.py"
    path.write_text(SHOUT)
    yield path
    sys.modules.pop("rayjob_recipe_my-shout", None)


def test_recipes_by_name() -> None:
    assert find_recipe("omni") is Omni
    assert find_recipe("rayjob.recipes.omni:Omni") is Omni
    with pytest.raises(ConfigError, match=r"no recipe 'omny'; there are: .*omni.*file\.py:Class"):
        find_recipe("omny")


def test_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", "rayjob.recipes.omni:Omni", "rayjob.recipes")
    monkeypatch.setattr(recipes, "entry_points", lambda group: [point])
    assert find_recipe("mine") is Omni


def test_a_recipe_from_a_file(shout: Path) -> None:
    recipe = find_recipe(f"{shout}:Shout")()
    assert (recipe.name, recipe.prompt) == ("shout", "What is there? Shout.")
    engine = ScriptedEngine(["A DOG"])
    (row,) = asyncio.run(recipe.caption(sample_video(recipe.plan), engine))
    assert (row.caption, row.model) == ("A DOG!", "m")


def test_a_file_is_not_needed_where_its_class_is_used(shout: Path) -> None:
    """As on a worker of another node: a process that has neither the file nor its folder."""
    recipe = find_recipe(f"{shout}:Shout")(RecipeConfig(options={"mark": "?"}))
    sent = cloudpickle.dumps(recipe)
    shout.unlink()
    done = subprocess.run(
        [sys.executable, "-c", WORKER], input=sent, capture_output=True, cwd=jobs.ROOT
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == "A DOG? 2 What is there? Shout. shout"


def test_a_class_of_a_package_travels_by_its_name() -> None:
    assert len(cloudpickle.dumps(Omni)) < 100
    assert pickle.loads(cloudpickle.dumps(Omni)) is Omni


def test_a_prompt_that_is_inherited_lies_beside_the_class_that_has_it(shout: Path) -> None:
    shout.write_text("from rayjob.recipes.omni import Omni\nclass Mine(Omni):\n    name = 'mine'\n")
    assert find_recipe(f"{shout}:Mine")().prompt == Omni().prompt


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Shout:\n    name = 'shout'", "no recipe 'Shout', a subclass of .*; it has: none"),
        (SHOUT.replace("class Shout(", "class Shuot("), "no recipe 'Shout'.*; it has: Shuot$"),
        (SHOUT.replace('"shout"', '"a/b"'), "no usable name: .*it has 'a/b'"),
        (SHOUT.replace('name = "shout"', ""), "no usable name: give its class .*it has ''"),
        (SHOUT.replace("(non_empty", "(no_empty"), "cannot be imported: NameError: .*'no_empty'"),
        ("class Shout(", "cannot be imported: SyntaxError"),
        ("import nowhere_to_be_found", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_a_file_without_a_recipe(shout: Path, text: str, message: str) -> None:
    shout.write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_recipe(f"{shout}:Shout")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/file.py:Thing", r"there is no recipe file no/file\.py, seen from /"),
        ("nowhere:Thing", "'nowhere' cannot be imported: ModuleNotFoundError.*Install"),
        (":Thing", "cannot be imported: ValueError"),
        ("rayjob.recipes.omni:Omny", "no recipe 'Omny'.*; it has: Omni"),
        ("rayjob.recipes.omni:non_empty", "no recipe 'non_empty'"),
        ("my_recipe.py", r"there is no recipe 'my_recipe\.py'; .*file\.py:Class"),
    ],
)
def test_what_is_not_a_recipe(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_recipe(name)


def test_prompts_of_a_class_that_are_not_there(shout: Path) -> None:
    prompt = shout.parent / "prompts/shout.txt"
    prompt.write_text(" \n")
    with pytest.raises(ConfigError, match=r"prompts/shout\.txt is empty"):
        find_recipe(f"{shout}:Shout")()
    prompt.unlink()
    with pytest.raises(ConfigError, match=r"prompts/shout\.txt cannot be read: .*No such file"):
        find_recipe(f"{shout}:Shout")(RecipeConfig(prompt_file=str(shout)))

    class Mute(BaseRecipe):
        name = "mute"

    with pytest.raises(ConfigError, match=r"the recipe mute has no prompt: .*--prompt-file"):
        Mute()
    assert Mute(RecipeConfig(prompt_file="tinyworld/prompts/omni.txt")).prompt


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"prompts/shout.txt"', '"none.txt"'), "none.txt cannot be read"),
        (('name = "shout"', ""), "no usable name"),
        (('model = "m"', ""), "the recipe shout names no model"),
    ],
)
def test_the_command_ends_with_2(shout: Path, change: tuple[str, str], message: str) -> None:
    shout.write_text(SHOUT.replace(*change))
    model = () if "model" in change[0] else ("--model", "models/tiny-omni")
    done = jobs.caption(
        "--recipe", f"{shout}:Shout", *model, "--input", "README.md", "--output", shout.parent
    )
    assert done.code == 2, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
