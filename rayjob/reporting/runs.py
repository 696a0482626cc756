"""Which runs a report is about, and what each says about itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from rayjob.evaluation.outcome import ALL_RUNS, EVALUATION, Evaluation, load
from rayjob.output.layout import run_folder
from rayjob.output.store import TableStore
from rayjob.output.timeline import Point, read_timeline
from schemas.errors import SourceError

logger = logging.getLogger(__name__)

MAX_RUNS = 4


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run in an output.

    Attributes:
        label: what the page calls it: its id, with the output where two runs share one.
        config: ``config.yaml`` as it was written; empty where there is none.
        summary: ``summary.json``; empty for a run that did not finish.
        finished: whether every input of the run is accounted for.
        timeline: empty where none was kept.
    """

    store: TableStore
    run_id: str
    label: str
    config: dict[str, Any]
    summary: dict[str, Any]
    finished: bool
    timeline: tuple[Point, ...]
    evaluations: tuple[Evaluation, ...]

    @property
    def is_split(self) -> bool:
        """Whether it cut videos and captioned none, as its configuration says."""
        return "cuts" in self.config


def find_runs(stores: Sequence[TableStore], run_ids: Sequence[str]) -> list[Run]:
    """The runs that a command names: by default the newest of each output.

    Args:
        stores: one output, or several.
        run_ids: none; or any number of one output; or one for each output, in order.

    Raises:
        SourceError: there are no such runs, or the numbers do not fit.
    """
    if len(stores) > 1 and run_ids and len(run_ids) != len(stores):
        raise SourceError(
            f"{len(stores)} outputs and {len(run_ids)} run ids: give one --run-id for each "
            "--input, in order, or none for the newest runs"
        )
    if len(stores) == 1 and run_ids:
        stores = [stores[0]] * len(run_ids)
    wanted: list[tuple[TableStore, str]] = []
    for number, store in enumerate(stores):
        known = known_runs(store)
        if not known:
            raise SourceError(
                f"{store.url} holds no run (no runs/*/config.yaml): --input is the folder or "
                "prefix that `rayjob caption` or `rayjob fuse` wrote to"
            )
        run_id = run_ids[number] if run_ids else known[-1]
        if run_id not in known:
            raise SourceError(
                f"{store.url} has no run {run_id!r}; the newest are {', '.join(known[-5:])}"
            )
        if (store, run_id) not in wanted:
            wanted.append((store, run_id))
    if len(wanted) > MAX_RUNS:
        raise SourceError(f"{len(wanted)} runs are too many for one page: {MAX_RUNS} at most")
    ids = [run_id for _, run_id in wanted]
    return [
        _read(store, run_id, run_id if ids.count(run_id) == 1 else f"{run_id} in {store.url}")
        for store, run_id in wanted
    ]


def known_runs(store: TableStore) -> list[str]:
    """Ids of the runs of an output, the newest last."""
    found = [
        (entry.modified, entry.path.split("/")[1])
        for entry in store.list("runs", suffix="/config.yaml")
        if entry.path.count("/") == 2
    ]
    return [run_id for _, run_id in sorted(found)]


def _read(store: TableStore, run_id: str, label: str) -> Run:
    folder = run_folder(run_id)
    return Run(
        store=store,
        run_id=run_id,
        label=label,
        config=read_config(store, run_id),
        summary=read_summary(store, run_id),
        finished=store.exists(f"{folder}/_SUCCESS"),
        timeline=tuple(read_timeline(store, run_id)),
        evaluations=tuple(
            each
            for each in load(store, EVALUATION, Evaluation)
            if each.run_id in (run_id, ALL_RUNS)
        ),
    )


def read_config(store: TableStore, run_id: str) -> dict[str, Any]:
    """``config.yaml`` of a run as it was written; empty where there is none."""
    return _mapping(store, f"{run_folder(run_id)}/config.yaml")


def read_summary(store: TableStore, run_id: str) -> dict[str, Any]:
    """``summary.json`` of a run; empty for one that did not finish."""
    return _mapping(store, f"{run_folder(run_id)}/summary.json")


def _mapping(store: TableStore, path: str) -> dict[str, Any]:
    """A YAML or JSON file of a run; a report is made also where it is not there, or damaged."""
    try:
        data = yaml.safe_load(store.read_bytes(path))
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        logger.warning("%s is damaged and left out: %s", store.url_of(path), error)
        return {}
    return data if isinstance(data, dict) else {}
