"""Where things are in an output, from its root."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

from schemas.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ResultTables:
    """Folders of the two tables that hold the results of one recipe, from the root.

    Characters that mean something in a path are percent-encoded, which readers of Hive
    partitions undo.
    """

    captions: str
    failures: str

    @classmethod
    def of_recipe(cls, recipe: str, *, fused: bool = False) -> ResultTables:
        """``captions/recipe=R``, or for a recipe that fuses captions ``fused/task=R``; failures
        are in ``failures/recipe=R`` either way.

        Raises:
            ConfigError: a reader would take the recipe's name for a number.
        """
        if not recipe[:1].isalpha():
            raise ConfigError(f"the recipe's name {recipe!r} does not begin with a letter")
        name = quote(recipe, safe="")
        return cls(
            captions=f"fused/task={name}" if fused else f"captions/recipe={name}",
            failures=f"failures/recipe={name}",
        )

    def in_run(self, run_id: str) -> ResultTables:
        """The folders of one run's shards."""
        name = quote(run_id, safe="")
        return ResultTables(
            captions=f"{self.captions}/run_id={name}", failures=f"{self.failures}/run_id={name}"
        )


def run_folder(run_id: str) -> str:
    """Folder of what a run writes about itself: ``runs/ID``."""
    return f"runs/{quote(run_id, safe='')}"


def partition_keys(path: str) -> dict[str, str]:
    """The Hive partition keys in a path of an output, such as ``recipe`` and ``run_id``."""
    parts = (part.partition("=") for part in path.split("/")[:-1] if "=" in part)
    return {key: unquote(value) for key, _, value in parts}
