"""Messages for instruction tuning: one conversation per line of JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any

import pyarrow as pa


def lines(batches: Iterable[pa.RecordBatch]) -> Iterator[str]:
    """One conversation per caption: ``id``, ``video``, ``duration_sec`` and ``messages``, and of a
    part or a segment of a video ``start_sec`` and ``end_sec``.

    The request is drawn from ``rayjob/recipes/prompts/requests.txt`` by the video's id, so that
    another export writes the same.

    Args:
        batches: of :data:`rayjob.exporting.selection.ROWS`.
    """
    text = files("rayjob.recipes").joinpath("prompts", "requests.txt").read_text("utf-8")
    requests = [line for line in text.splitlines() if line.strip()]
    for batch in batches:
        for row in batch.to_pylist():
            yield json.dumps(_conversation(row, requests), ensure_ascii=False) + "\n"


def _conversation(row: dict[str, Any], requests: list[str]) -> dict[str, Any]:
    request = random.Random(row["video_id"]).choice(requests)
    is_whole = row["level"] == "video" and row["segment_start_sec"] is None
    span = () if is_whole else ("start_sec", "end_sec")
    return {
        "id": row["video_id"],
        "video": row["uri"],
        "duration_sec": row["duration_sec"],
        **{name: row[name] for name in span},
        "messages": [
            {"role": "user", "content": f"<video>\n{request}"},
            {"role": "assistant", "content": row["caption"]},
        ],
    }
