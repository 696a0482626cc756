"""Recipes by name: built in, ``module:object``, or an entry point of group ``rayjob.recipes``.

A recipe is a class with the attributes of :class:`RecipeType`; see ``omni`` for one.
"""

from __future__ import annotations

import importlib
import re
from importlib.metadata import entry_points
from typing import ClassVar, Protocol, cast

from rayjob.recipes.settings import RecipeDefaults, RecipeSettings
from schemas.errors import ConfigError
from schemas.media import SamplingPlan
from schemas.recipe import Recipe

__all__ = ["RecipeDefaults", "RecipeSettings", "RecipeType", "find_recipe"]

BUILT_IN = {
    "omni": "rayjob.recipes.omni:Omni",
    "structured": "rayjob.recipes.structured:Structured",
    "clips": "rayjob.recipes.clips:Clips",
    "t2v": "rayjob.recipes.fusion:TextToVideo",
    "long": "rayjob.recipes.long:Long",
    "i2v": "rayjob.recipes.fusion:ImageToVideo",
}


class RecipeType(Protocol):
    """A recipe's class: its name, what it does by default, and its constructor."""

    name: str
    defaults: ClassVar[RecipeDefaults]
    plan: SamplingPlan | None

    def __call__(self, settings: RecipeSettings) -> Recipe:
        """Make the recipe."""
        ...


def find_recipe(name: str) -> RecipeType:
    """The recipe's class for a name.

    Raises:
        ConfigError: there is none of that name, or it cannot be imported.
    """
    target = BUILT_IN.get(name)
    if target is None and ":" in name:
        target = name
    if target is None:
        found = {point.name: point for point in entry_points(group="rayjob.recipes")}
        if name not in found:
            known = ", ".join(sorted({*BUILT_IN, *found}))
            raise ConfigError(
                f"there is no recipe {name!r}; there are: {known}. Your own is named module:object."
            )
        target = found[name].value
    module_name, _, attribute = target.partition(":")
    try:
        recipe = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"recipe {name!r} cannot be imported: {error}") from error
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", getattr(recipe, "name", "")):
        raise ConfigError(f"recipe {name!r} has no usable name: letters, digits, '_' and '-'")
    return cast(RecipeType, recipe)
