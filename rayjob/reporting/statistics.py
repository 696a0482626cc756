"""Figures over all rows of a run, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayjob.output.store import TableStore
from rayjob.reporting.reading import Part, batches
from rayjob.reporting.sampling import Smallest, ranks

MAX_WORDS = 5000
"""Captions beyond are counted as this long."""

MAX_SECONDS = 4 * 3600
"""Videos beyond are counted as this long."""

FLAGGED = ("truncated", "invalid")
"""Statuses that a fair choice of videos may well miss: some videos more are shown for each."""

EXAMPLES_PER_STATUS = 6
EXAMPLES_PER_ERROR = 3
_MAX_KINDS = 500
"""Different reasons that are told apart; some of them quote the caption."""

_CAPTION_COLUMNS = (
    "video_id", "level", "caption", "caption_status", "status_reason", "attempts",
    "output_tokens", "duration_sec", "model", "prompt_hash", "created_at",
)  # fmt: skip
_FAILURE_COLUMNS = ("video_id", "uri", "stage", "error", "message", "attempts", "created_at")

_K = TypeVar("_K")
_Counts = npt.NDArray[np.int64]


@dataclass(kw_only=True)
class Kind:
    """The captions of one recipe, or of one task of fusion.

    Attributes:
        words: captions by number of words, shape (MAX_WORDS + 1,).
    """

    captions: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    words: _Counts = field(default_factory=lambda: np.zeros(MAX_WORDS + 1, np.int64))


@dataclass(frozen=True, kw_only=True)
class FailedVideo:
    """An example of a failure."""

    video_id: str
    uri: str
    message: str
    attempts: int


@dataclass(kw_only=True)
class Statistics:
    """What the tables of a run say.

    Attributes:
        kinds: by :attr:`rayjob.reporting.reading.Part.label`.
        videos: videos with captions, each recipe's counted.
        seconds: videos by length in whole seconds, shape (MAX_SECONDS + 1,).
        reasons: why captions are not "ok".
        models: (model, prompt hash) of the captions.
        captioned_at, failed_at: videos by whole second since 1970 in which their rows were made.
        errors: failures by (stage, error).
        sample: ids to show.
        flagged: by status, ids to show because a caption of theirs has it.
        examples: by (stage, error), some failures.
    """

    kinds: dict[str, Kind] = field(default_factory=dict)
    videos: int = 0
    seconds: _Counts = field(default_factory=lambda: np.zeros(MAX_SECONDS + 1, np.int64))
    attempts: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    models: Counter[tuple[str, str]] = field(default_factory=Counter)
    output_tokens: int = 0
    captioned_at: Counter[int] = field(default_factory=Counter)
    failed_at: Counter[int] = field(default_factory=Counter)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    sample: list[str] = field(default_factory=list)
    flagged: dict[str, list[str]] = field(default_factory=dict)
    examples: dict[tuple[str, str], list[FailedVideo]] = field(default_factory=dict)

    @property
    def captions(self) -> int:
        """Rows of captions."""
        return sum(kind.captions for kind in self.kinds.values())

    @property
    def statuses(self) -> Counter[str]:
        """Captions by status, over all kinds."""
        return sum((kind.statuses for kind in self.kinds.values()), Counter())

    @property
    def failures(self) -> int:
        """Rows of failures."""
        return self.errors.total()


def collect(store: TableStore, parts: Sequence[Part], *, sample: int, seed: int) -> Statistics:
    """Read all rows of a run once.

    Args:
        parts: its partitions, of all three tables.
        sample: videos to show.
        seed: of the choice.

    Raises:
        SourceError: a file is damaged or has other columns.
    """
    counting = _Counting(sample=sample, seed=seed)
    for part in parts:
        for entry in part.files:
            if part.table == "failures":
                for batch in batches(store, entry, _FAILURE_COLUMNS):
                    counting.failures(batch)
            else:
                counting.begin_file(part)
                for batch in batches(store, entry, _CAPTION_COLUMNS):
                    counting.captions(batch)
    return counting.finished()


class _Counting:
    """Takes batches in."""

    def __init__(self, *, sample: int, seed: int) -> None:
        self._statistics = Statistics()
        self._seed = seed
        self._chosen: Smallest[None] = Smallest(sample)
        self._flagged = {
            status: Smallest[None](min(sample, EXAMPLES_PER_STATUS)) for status in FLAGGED
        }
        self._examples: dict[tuple[str, str], Smallest[FailedVideo]] = {}
        self._kind = Kind()
        self._last_id: str | None = None

    def begin_file(self, part: Part) -> None:
        self._kind = self._statistics.kinds.setdefault(part.label, Kind())
        self._last_id = None

    def captions(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        statistics, kind = self._statistics, self._kind
        kind.captions += batch.num_rows
        kind.statuses.update(_counts(batch.column("caption_status")))
        kind.levels.update(_counts(batch.column("level")))
        words = pc.count_substring_regex(batch.column("caption"), r"\S+").to_numpy()
        kind.words += np.bincount(np.minimum(words, MAX_WORDS), minlength=MAX_WORDS + 1)
        statistics.attempts.update(_counts(batch.column("attempts")))
        statistics.output_tokens += pc.sum(batch.column("output_tokens")).as_py() or 0
        _add_bounded(statistics.reasons, _counts(batch.column("status_reason")))
        _add_bounded(statistics.models, _pairs(batch, "model", "prompt_hash"))

        # A writer puts the rows of a video side by side in one file.
        ids: list[str] = batch.column("video_id").to_pylist()
        first = np.array([a != b for a, b in zip(ids, [self._last_id, *ids], strict=False)])
        self._last_id = ids[-1]
        statistics.videos += int(first.sum())
        mask = pa.array(first)
        lengths = pc.fill_null(batch.column("duration_sec"), 0.0).filter(mask).to_numpy()
        whole = np.clip(np.nan_to_num(lengths), 0, MAX_SECONDS).astype(np.int64)
        statistics.seconds += np.bincount(whole, minlength=MAX_SECONDS + 1)
        statistics.captioned_at.update(_seconds(batch.column("created_at").filter(mask)))

        chosen = [video_id for video_id, new in zip(ids, first, strict=True) if new]
        self._chosen.offer(chosen, ranks(chosen, self._seed), [None] * len(chosen))
        for status, smallest in self._flagged.items():
            with_status = pc.equal(batch.column("caption_status"), status)
            bad = batch.column("video_id").filter(with_status).to_pylist()
            smallest.offer(bad, ranks(bad, self._seed), [None] * len(bad))

    def failures(self, batch: pa.RecordBatch) -> None:
        self._statistics.failed_at.update(_seconds(batch.column("created_at")))
        errors = _pairs(batch, "stage", "error")
        _add_bounded(self._statistics.errors, errors)
        for stage, error in errors:
            if (stage, error) not in self._statistics.errors:
                continue
            same = pc.and_(
                pc.equal(batch.column("stage"), stage), pc.equal(batch.column("error"), error)
            )
            rows = batch.filter(same).to_pylist()
            ids = [row["video_id"] for row in rows]
            examples = [
                FailedVideo(
                    video_id=row["video_id"],
                    uri=row["uri"],
                    message=row["message"],
                    attempts=row["attempts"],
                )
                for row in rows
            ]
            smallest = self._examples.setdefault((stage, error), Smallest(EXAMPLES_PER_ERROR))
            smallest.offer(ids, ranks(ids, self._seed), examples)

    def finished(self) -> Statistics:
        statistics = self._statistics
        statistics.sample = [*self._chosen.items()]
        statistics.flagged = {
            status: [*smallest.items()] for status, smallest in self._flagged.items()
        }
        statistics.examples = {
            kind: [*smallest.items().values()] for kind, smallest in self._examples.items()
        }
        return statistics


def _counts(column: pa.Array) -> dict[Any, int]:
    """How often each value stands in a column; nulls left out."""
    counted = pc.value_counts(column.drop_null())
    return {item["values"]: item["counts"] for item in counted.to_pylist()}


def _pairs(batch: pa.RecordBatch, first: str, second: str) -> dict[tuple[str, str], int]:
    """How often each pair of values stands in two columns."""
    table = pa.table({"a": batch.column(first), "b": batch.column(second)})
    grouped = table.group_by(["a", "b"]).aggregate([([], "count_all")])
    return {(row["a"], row["b"]): row["count_all"] for row in grouped.to_pylist()}


def _seconds(column: pa.Array) -> dict[int, int]:
    """How often each whole second since 1970 stands in a column of times."""
    return _counts(pc.divide(column.cast(pa.int64()), 1_000_000))


def _add_bounded(counter: Counter[_K], counts: Mapping[_K, int]) -> None:
    """Add what is known already, and what is new while there is room for it."""
    for key, count in counts.items():
        if key in counter or len(counter) < _MAX_KINDS:
            counter[key] += count
