"""Messages for instruction tuning: one conversation per line of JSON."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any

import pyarrow as pa

COLUMNS = (
    "video_id", "uri", "caption", "level", "duration_sec", "start_sec", "end_sec",
    "segment_start_sec",
)  # fmt: skip
"""Of a caption that becomes a conversation. Earlier versions did not write the last one."""


def lines(batches: Iterable[pa.RecordBatch]) -> Iterator[str]:
    """One conversation per caption, as :func:`conversation`.

    Args:
        batches: of :data:`rayjob.exporting.selection.ROWS`.
    """
    for batch in batches:
        for row in batch.to_pylist():
            yield json.dumps(conversation(row), ensure_ascii=False) + "\n"


def conversation(row: Mapping[str, Any]) -> dict[str, Any]:
    """A caption as the answer to a request: :func:`head` and ``messages``.

    Args:
        row: of ``captions``, with at least :data:`COLUMNS`.
    """
    answer = {"role": "assistant", "content": row["caption"]}
    return head(row) | {"messages": [user_turn(row["video_id"]), answer]}


def head(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a conversation is about: ``id``, ``video`` and ``videos`` (the address, alone and as a
    list, for tools that read the one or the other), ``duration_sec``, and of a part or a segment of
    a video ``start_sec`` and ``end_sec``.
    """
    is_whole = row["level"] == "video" and row.get("segment_start_sec") is None
    span = () if is_whole else ("start_sec", "end_sec")
    return {
        "id": row["video_id"],
        "video": row["uri"],
        "videos": [row["uri"]],
        "duration_sec": row["duration_sec"],
        **{name: row[name] for name in span},
    }


def user_turn(video_id: str) -> dict[str, str]:
    """What the user says about a video: a request that its id draws, so that another export writes
    the same. The requests stand in ``rayjob/recipes/prompts/requests.txt``.
    """
    request = random.Random(video_id).choice(_requests())
    return {"role": "user", "content": f"<video>\n{request}"}


@functools.cache
def _requests() -> list[str]:
    text = files("rayjob.recipes").joinpath("prompts", "requests.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line.strip()]
