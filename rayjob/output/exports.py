"""Fused captions in the layouts that others' tools read, beside the tables.

``exports/TASK_fusion_caption.csv``
    As SkyCaptioner's scripts write it: ``path`` and ``TASK_fusion_caption``.
``exports/TASK.jsonl``
    For instruction tuning: one conversation per line, ``video`` and ``messages``, with
    the request drawn from ``rayjob/recipes/prompts/requests.txt``.

Both hold all valid captions of the task in the output, of earlier runs too, and are replaced
as a whole after each run.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

from rayjob.prepare import Prepared
from schemas.config import FuseConfig

FOLDER = "exports"

_COLUMNS = ["video_id", "uri", "caption", "caption_status", "duration_sec"]


def write(prepared: Prepared) -> None:
    """Write the exports that the configuration asks for.

    Raises:
        UsageError, OutputUnavailableError: as
            :meth:`rayjob.output.store.TableStore.write_bytes`.
    """
    config = prepared.config
    if not isinstance(config, FuseConfig):
        return
    task = prepared.recipe.name
    if config.csv:
        name = f"{FOLDER}/{task}_fusion_caption.csv"
        prepared.store.write_lines(name, _csv_lines(prepared, task))
    if config.export_jsonl:
        prepared.store.write_lines(f"{FOLDER}/{task}.jsonl", _jsonl_lines(prepared))


def _rows(prepared: Prepared) -> Iterator[dict[str, Any]]:
    for entry in prepared.store.list(prepared.tables.captions, suffix=".parquet"):
        for row in prepared.store.read_table(entry, _COLUMNS).to_pylist():
            if row["caption_status"] == "ok":
                yield row


def _csv_lines(prepared: Prepared, task: str) -> Iterator[str]:
    line = _csv_line()
    yield line(["path", f"{task}_fusion_caption"])
    for row in _rows(prepared):
        yield line([row["uri"], row["caption"]])


def _csv_line() -> Callable[[list[str]], str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")

    def line(cells: list[str]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue()

    return line


def _jsonl_lines(prepared: Prepared) -> Iterator[str]:
    text = files("rayjob.recipes").joinpath("prompts", "requests.txt").read_text("utf-8")
    requests = [line for line in text.splitlines() if line.strip()]
    for row in _rows(prepared):
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
