"""Fused captions in the layouts that others' tools read, beside the tables.

``exports/NAME_fusion_caption.csv``
    As SkyCaptioner's scripts write it: ``path`` and ``TASK_fusion_caption``. NAME is the
    fusion's name, by default its task.
``exports/NAME.jsonl``
    For instruction tuning: one conversation per line, ``video`` and ``messages``, with
    the request drawn from ``rayjob/recipes/prompts/requests.txt``.

Both hold all valid captions of that name in the output, of earlier runs too, and are replaced
as a whole after each run.
"""

from __future__ import annotations

import csv as csv_format
import json
import random
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any

from rayjob.output.commits import shards
from rayjob.output.layout import ResultTables
from rayjob.output.store import TableStore

FOLDER = "exports"

_COLUMNS = ["video_id", "uri", "caption", "caption_status", "duration_sec"]


def write(
    store: TableStore, tables: ResultTables, *, name: str, task: str, csv: bool, jsonl: bool
) -> None:
    """Write the exports that are asked for.

    Args:
        name: of the fusion, in the files' names.
        task: its recipe, which names the CSV's column.

    Raises:
        UsageError, OutputUnavailableError: as
            :meth:`rayjob.output.store.TableStore.write_bytes`.
    """
    if csv:
        store.write_lines(
            f"{FOLDER}/{name}_fusion_caption.csv", _csv_lines(_rows(store, tables), task)
        )
    if jsonl:
        store.write_lines(f"{FOLDER}/{name}.jsonl", _jsonl_lines(_rows(store, tables)))


def _rows(store: TableStore, tables: ResultTables) -> Iterator[dict[str, Any]]:
    for entry in shards(store, tables.captions):
        for row in store.read_table(entry, _COLUMNS).to_pylist():
            if row["caption_status"] == "ok":
                yield row


class _Lines:
    """For ``csv.writer``, whose ``writerow`` returns what this returns."""

    def write(self, line: str) -> str:
        return line


def _csv_lines(rows: Iterable[dict[str, Any]], task: str) -> Iterator[str]:
    writer: Any = csv_format.writer(_Lines(), lineterminator="\n")
    yield writer.writerow(["path", f"{task}_fusion_caption"])
    for row in rows:
        yield writer.writerow([row["uri"], row["caption"]])


def _jsonl_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    text = files("rayjob.recipes").joinpath("prompts", "requests.txt").read_text("utf-8")
    requests = [line for line in text.splitlines() if line.strip()]
    for row in rows:
        # Drawn by the video's id, so that another run writes the same.
        request = random.Random(row["video_id"]).choice(requests)
        conversation = {
            "id": row["video_id"],
            "video": row["uri"],
            "duration_sec": row["duration_sec"],
            "messages": [
                {"role": "user", "content": f"<video>\n{request}"},
                {"role": "assistant", "content": row["caption"]},
            ],
        }
        yield json.dumps(conversation, ensure_ascii=False) + "\n"
