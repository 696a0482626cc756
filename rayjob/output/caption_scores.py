"""Filters of a split on what earlier captions of its segments say: a model's score of each."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any

import pyarrow as pa

from actors.storage.segments import part_of
from rayjob.output.commits import shards
from rayjob.output.layout import ResultTables
from rayjob.output.rejecting import rejecting
from rayjob.output.store import TableStore
from schemas.errors import ConfigError
from schemas.splitting import Range

_COLUMNS = ["video_id", "level", "caption", "structured", "caption_status"]


class CaptionScores:
    """The numbers that captions of segments are: an id and a number for each segment and filter.

    Args:
        store: the output that holds the captions.
        filters: by name; those without a caption's name are not looked at.

    Raises:
        ConfigError: the captions that a filter names hold no number.
        UsageError: a shard cannot be read.
    """

    def __init__(self, store: TableStore, filters: Mapping[str, Range]) -> None:
        self._filters = {
            name: (wanted, _numbers(store, name, wanted.caption, wanted.field))
            for name, wanted in filters.items()
            if wanted.caption is not None
        }

    def marked(self, results: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The same tables of :data:`schemas.tables.SPLITS`; segments whose numbers do not pass are
        not kept. Those without a number pass.
        """
        return rejecting(results, self._reason) if self._filters else iter(results)

    def _reason(self, segment: dict[str, Any]) -> str | None:
        part = part_of(segment["video_id"], segment["start_sec"], segment["end_sec"])
        told = (
            wanted.refusal(name, numbers.get(part))
            for name, (wanted, numbers) in self._filters.items()
        )
        return "; ".join(filter(None, told)) or None


def _numbers(store: TableStore, name: str, caption: str, field: str | None) -> dict[str, float]:
    """By ``video_id``, the mean over the samples of a captioning."""
    found = defaultdict[str, list[float]](list)
    for entry in shards(store, ResultTables.named(caption).captions):
        for row in store.read_table(entry, _COLUMNS).to_pylist():
            number = _number(row["structured"] or row["caption"], field)
            if row["level"] == "video" and row["caption_status"] == "ok" and number is not None:
                found[row["video_id"]].append(number)
    if not found:
        what = "numbers" if field is None else f"JSON with a number {field!r}"
        raise ConfigError(
            f"filters.{name}: {store.url} holds no captions {caption!r} that are {what}; caption "
            f"its segments with --name {caption} first"
        )
    return {video_id: fmean(numbers) for video_id, numbers in found.items()}


def _number(text: str, field: str | None) -> float | None:
    """The number that a caption is or has in a field; None where there is none."""
    try:
        value = json.loads(text)
        number = float(value if field is None else value[field])
    except (ValueError, TypeError, LookupError):
        return None
    return number if math.isfinite(number) else None
