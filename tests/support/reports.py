"""Outputs of runs that never ran: real videos, rows as a run would have written them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from rayjob.output.commits import Commit
from rayjob.output.store import TableStore
from rayjob.output.summary import write_config, write_success
from rayjob.reporting.page import Request, make_page
from rayjob.reporting.runs import find_runs
from schemas.tables import CAPTIONS, FAILURES, CaptionRow, FailureRow
from tests.support.outputs import NO_LOCK
from tinyworld.demo import render_clips
from tinyworld.world import sample_scenes


def render(folder: Path, count: int) -> list[Path]:
    """Short clips with sound."""
    scenes = [scene for scene in sample_scenes(4 * count + 8, seed=6) if scene.sound != "silence"]
    return [folder / name for name in render_clips(scenes[:count], folder)]


def make_run(
    store: TableStore,
    run_id: str,
    *,
    captions: dict[str, Sequence[CaptionRow]] | None = None,
    fused: dict[str, Sequence[CaptionRow]] | None = None,
    failures: Sequence[FailureRow] = (),
    config: dict[str, Any] | None = None,
) -> None:
    """A finished run; captions by recipe, fused ones by task."""
    for table, key, groups in (("captions", "recipe", captions), ("fused", "task", fused)):
        for name, rows in (groups or {}).items():
            write_rows(store, f"{table}/{key}={name}/run_id={run_id}/a.parquet", rows)
    if failures:
        write_rows(store, f"failures/recipe=omni/run_id={run_id}/a.parquet", failures)
    write_config(store, run_id, yaml.safe_dump(config or {"recipe": {"name": "omni"}}))
    write_success(store, run_id, Commit(1, (), (), 0), guard=NO_LOCK.check)


def write_rows(store: TableStore, path: str, rows: Sequence[CaptionRow | FailureRow]) -> None:
    schema = CAPTIONS if isinstance(rows[0], CaptionRow) else FAILURES
    table = pa.Table.from_pylist([dataclasses.asdict(row) for row in rows], schema=schema)
    store.write_table(path, table)


def page_of(
    store: TableStore, *run_ids: str, sample: int = 48, pictures: bool = True, seed: int = 0
) -> str:
    request = Request(sample=sample, seed=seed, pictures=pictures)
    return make_page(find_runs([store], run_ids), request)
