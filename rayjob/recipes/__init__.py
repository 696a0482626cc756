"""Recipes by name: built in, ``FILE.py:CLASS``, ``MODULE:CLASS``, or an entry point of the group
``rayjob.recipes``.

Each is a subclass of :class:`rayjob.recipes.base.BaseRecipe`.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from rayjob.recipes.base import BaseRecipe
from schemas.errors import ConfigError

BUILT_IN = {
    "omni": "rayjob.recipes.omni:Omni",
    "ask": "rayjob.recipes.ask:Ask",
    "heard": "rayjob.recipes.omni:Heard",
    "seen": "rayjob.recipes.omni:Seen",
    "structured": "rayjob.recipes.structured:Structured",
    "clips": "rayjob.recipes.longform.clips:Clips",
    "one-pass": "rayjob.recipes.longform.one_pass:OnePass",
    "t2v": "rayjob.recipes.fusion.texts:TextToVideo",
    "long": "rayjob.recipes.longform.long:Long",
    "i2v": "rayjob.recipes.fusion.texts:ImageToVideo",
}


def find_recipe(name: str) -> type[BaseRecipe]:
    """The recipe's class for a name.

    A class from a file travels to the workers by value: they need neither the file nor its
    folder. Any other is imported there, too.

    Raises:
        ConfigError: there is no recipe of that name, it cannot be imported, or it is not a recipe.
    """
    target = name if ":" in name else BUILT_IN.get(name)
    if target is None:
        found = {point.name: point.value for point in entry_points(group="rayjob.recipes")}
        if name not in found:
            known = ", ".join(sorted({*BUILT_IN, *found}))
            raise ConfigError(
                f"there is no recipe {name!r}; there are: {known}. Your own is written "
                "path/to/file.py:Class, or package.module:Class where the package is installed"
            )
        target = found[name]
    place, _, attribute = target.rpartition(":")
    module = _module_of_file(Path(place)) if place.endswith(".py") else _import(place)
    recipe = getattr(module, attribute, None)
    if not (isinstance(recipe, type) and issubclass(recipe, BaseRecipe)):
        has = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, BaseRecipe)
            and value.__module__ == module.__name__
        ]
        raise ConfigError(
            f"{place} has no recipe {attribute!r}, a subclass of rayjob.recipes.base.BaseRecipe; "
            f"it has: {', '.join(has) or 'none'}"
        )
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", recipe.name):
        raise ConfigError(
            f"the recipe {target} has no usable name: give its class the attribute 'name', a "
            f"letter and then letters, digits, '_' and '-' (it has {recipe.name!r})"
        )
    return recipe


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever a user's module raises
        raise ConfigError(
            f"the recipe's module {name!r} cannot be imported: {_told(error)}. Install its "
            "package here and on the workers; a single file is written path/to/file.py:Class"
        ) from error


def _module_of_file(path: Path) -> ModuleType:
    """Run a file as a module that pickles what it defines by value."""
    from ray import cloudpickle  # only here: importing Ray takes a second

    name = f"rayjob_recipe_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no recipe file {path}, seen from {Path.cwd()}") from error
    except Exception as error:  # whatever a user's file raises
        raise ConfigError(f"the recipe file {path} cannot be imported: {_told(error)}") from error
    cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    return module


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
