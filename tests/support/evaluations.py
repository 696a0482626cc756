"""Runs an evaluation as the command does, and makes its inputs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import typer
from typer.testing import CliRunner

from rayjob.evaluate import command

app = typer.Typer()
app.command()(command)


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The last line of stdout."""
        result: dict[str, Any] = json.loads(self.stdout.strip().splitlines()[-1])
        return result

    def figure(self, name: str) -> dict[str, Any]:
        """The figure of that name."""
        (found,) = [each for each in self.result["figures"] if each["name"] == name]
        return dict(found)

    def values(self) -> dict[str, float]:
        return {each["name"]: each["value"] for each in self.result["figures"]}


def evaluate(*arguments: object) -> Done:
    """``python -m rayjob.evaluate ARGUMENTS``, but in this process."""
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def scores(root: Path) -> list[dict[str, Any]]:
    """All scores, by a plain read of the folder."""
    rows: list[dict[str, Any]]
    rows = ds.dataset(root / "scores", format="parquet", partitioning="hive").to_table().to_pylist()
    return rows
