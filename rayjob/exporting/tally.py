"""Captions in figures, counted while they pass by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_KINDS = ("caption_status", "model", "model_revision", "prompt_hash")
COLUMNS = ("video_id", "duration_sec", *_KINDS)


class Tally:
    """Counts over captions.

    Attributes:
        captions, videos: rows, and videos; one whose rows are apart counts more than once.
        seconds: length of those videos.
    """

    def __init__(self) -> None:
        self.captions = self.videos = 0
        self.seconds = 0.0
        self._kinds: Counter[tuple[str, ...]] = Counter()
        self._last: str | None = None

    @property
    def made_by(self) -> list[tuple[tuple[str, ...], int]]:
        """Captions by status, model, revision and hash of the prompts, "" where unknown; the most
        frequent first.
        """
        return self._kinds.most_common()

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch that has :data:`COLUMNS`."""
        if not batch.num_rows:
            return
        self.captions += batch.num_rows
        # The rows of a video stand side by side.
        ids = batch.column("video_id")
        before = pa.concat_arrays([pa.array([self._last], ids.type), ids.slice(0, len(ids) - 1)])
        first = pc.fill_null(pc.not_equal(ids, before), True)
        self.videos += pc.sum(first).as_py()
        self.seconds += pc.sum(batch.column("duration_sec").filter(first)).as_py() or 0.0
        self._last = ids[-1].as_py()
        kinds = pa.Table.from_batches([batch]).group_by(_KINDS).aggregate([([], "count_all")])
        for row in kinds.to_pylist():
            self._kinds[tuple(row[name] or "" for name in _KINDS)] += row["count_all"]

    def state(self) -> list[Any]:
        """What was counted, as JSON can hold it."""
        kinds = [[*kind, count] for kind, count in self._kinds.items()]
        return [self.captions, self.videos, self.seconds, kinds]

    def absorb(self, state: list[Any]) -> None:
        """Count what another one has counted, told by its :meth:`state`.

        Raises:
            ValueError, TypeError: it is not such a state.
        """
        captions, videos, seconds, kinds = state
        self.captions += captions
        self.videos += videos
        self.seconds += seconds
        for *kind, count in kinds:
            self._kinds[tuple(kind)] += count

    def counting(self, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, counted."""
        for batch in rows:
            self.add(batch)
            yield batch
