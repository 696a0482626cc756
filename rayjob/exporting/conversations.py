"""Messages for instruction tuning: one conversation per line of JSON."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any

import pyarrow as pa


def lines(batches: Iterable[pa.RecordBatch]) -> Iterator[str]:
    """One conversation per caption: ``id``, ``video``, ``duration_sec`` and ``messages``, and of a
    part or a segment of a video ``start_sec`` and ``end_sec``.

    The requests stand in ``rayjob/recipes/prompts/requests.txt``.

    Args:
        batches: of :data:`rayjob.exporting.selection.ROWS`.
    """
    for batch in batches:
        for row in batch.to_pylist():
            yield json.dumps(_conversation(row), ensure_ascii=False) + "\n"


def user_turn(video_id: str) -> dict[str, str]:
    """What the user says about a video: a request that its id draws, so that another export writes
    the same.
    """
    request = random.Random(video_id).choice(_requests())
    return {"role": "user", "content": f"<video>\n{request}"}


@functools.cache
def _requests() -> list[str]:
    text = files("rayjob.recipes").joinpath("prompts", "requests.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line.strip()]


def _conversation(row: dict[str, Any]) -> dict[str, Any]:
    is_whole = row["level"] == "video" and row["segment_start_sec"] is None
    span = () if is_whole else ("start_sec", "end_sec")
    return {
        "id": row["video_id"],
        "video": row["uri"],
        "duration_sec": row["duration_sec"],
        **{name: row[name] for name in span},
        "messages": [
            user_turn(row["video_id"]),
            {"role": "assistant", "content": row["caption"]},
        ],
    }
