"""Where things are in an output, from its root."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

from schemas.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ResultTables:
    """Folders of the two tables that hold the results of one captioning, from the root.

    Characters that mean something in a path are percent-encoded, which readers of Hive
    partitions undo.
    """

    captions: str
    failures: str

    @classmethod
    def named(cls, name: str, *, fused: bool = False) -> ResultTables:
        """``captions/recipe=NAME``, or of captions that are fused ``fused/task=NAME``; failures
        are in ``failures/recipe=NAME`` either way.

        Raises:
            ConfigError: a reader would take the name for a number.
        """
        if not name[:1].isalpha():
            raise ConfigError(f"the name {name!r} of a captioning does not begin with a letter")
        quoted = quote(name, safe="")
        return cls(
            captions=f"fused/task={quoted}" if fused else f"captions/recipe={quoted}",
            failures=f"failures/recipe={quoted}",
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
