"""Figures over all rows of a run, in memory that does not grow with them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayjob.output.store import TableStore
from rayjob.reporting.reading import Part, batches
from rayjob.reporting.sampling import Smallest

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
    "video_id", "level", "caption", "caption_status", "status_reason", "output_tokens",
    "duration_sec", "model", "prompt_hash", "warnings",
)  # fmt: skip
_FAILURE_COLUMNS = ("video_id", "stage", "error", "message", "attempts", "warnings")

_K = TypeVar("_K")
_Counts = npt.NDArray[np.int64]


@dataclass(kw_only=True)
class Kind:
    """The captions of one recipe, or of one task of fusion.

    Attributes:
        words: captions by number of words, shape (MAX_WORDS + 1,).
    """

    statuses: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    words: _Counts = field(default_factory=lambda: np.zeros(MAX_WORDS + 1, np.int64))

    def by_status(self) -> list[tuple[str, str, int]]:
        """(status, css class, captions), in the order of a legend."""
        names = dict.fromkeys(("ok", *FLAGGED, *self.statuses))
        return [(name, name, self.statuses[name]) for name in names if self.statuses[name]]


class Statistics:
    """What the tables of a run say.

    Args:
        sample: videos to show; seed: of the choice.

    Attributes:
        kinds: by :attr:`rayjob.reporting.reading.Part.label`.
        videos: videos with captions, each recipe's counted.
        seconds: videos by length in whole seconds, shape (MAX_SECONDS + 1,).
        reasons: why captions are not "ok".
        warnings: videos by what was odd about their files.
        models: (model, prompt hash) of the captions.
        errors: failures by (stage, error).
        sample: ids to show.
        flagged: by status, ids to show because a caption of theirs has it.
        examples: by (stage, error), some rows of failures.
    """

    def __init__(self, *, sample: int, seed: int) -> None:
        self.kinds: dict[str, Kind] = {}
        self.videos = self.output_tokens = 0
        self.seconds: _Counts = np.zeros(MAX_SECONDS + 1, np.int64)
        self.reasons: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.models: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[tuple[str, str]] = Counter()
        self.sample: Smallest[None] = Smallest(sample, seed)
        self.flagged: dict[str, Smallest[None]] = {
            status: Smallest(min(sample, EXAMPLES_PER_STATUS), seed) for status in FLAGGED
        }
        self.examples: dict[tuple[str, str], Smallest[dict[str, Any]]] = defaultdict(
            lambda: Smallest(EXAMPLES_PER_ERROR, seed)
        )

    @property
    def captions(self) -> int:
        """Rows of captions."""
        return sum(kind.statuses.total() for kind in self.kinds.values())

    @property
    def words(self) -> _Counts:
        """Captions by number of words, over all kinds, shape (MAX_WORDS + 1,)."""
        return sum((kind.words for kind in self.kinds.values()), np.zeros(MAX_WORDS + 1, np.int64))

    @property
    def median_words(self) -> int:
        """Words of the middle caption."""
        return int((self.words.cumsum() < self.captions / 2).sum())

    @property
    def share_ok(self) -> float:
        """Captions that are ok in per cent, rounded down, so that 100 means all."""
        ok = sum(kind.statuses["ok"] for kind in self.kinds.values())
        return int(1000 * ok / self.captions) / 10

    @property
    def failures(self) -> int:
        """Rows of failures."""
        return self.errors.total()

    def add_captions(self, batch: pa.RecordBatch, label: str, *, before: str | None) -> str | None:
        """Count captions of one kind; ``before`` is the video of the row before, in this file.

        Returns:
            the video of the last row.
        """
        if not batch.num_rows:
            return before
        kind = self.kinds.setdefault(label, Kind())
        kind.statuses.update(_counts(batch.column("caption_status")))
        kind.levels.update(_counts(batch.column("level")))
        words = pc.count_substring_regex(batch.column("caption"), r"\S+").to_numpy()
        kind.words += np.bincount(np.minimum(words, MAX_WORDS), minlength=MAX_WORDS + 1)
        self.output_tokens += pc.sum(batch.column("output_tokens")).as_py() or 0
        _add_bounded(self.reasons, _counts(batch.column("status_reason")))
        _add_bounded(self.models, _pairs(batch, "model", "prompt_hash"))

        # A writer puts the rows of a video side by side in one file.
        ids: list[str] = batch.column("video_id").to_pylist()
        first = np.array([a != b for a, b in zip(ids, [before, *ids], strict=False)])
        self.videos += int(first.sum())
        mask = pa.array(first)
        lengths = pc.fill_null(batch.column("duration_sec"), 0.0).filter(mask).to_numpy()
        whole = np.clip(np.nan_to_num(lengths), 0, MAX_SECONDS).astype(np.int64)
        self.seconds += np.bincount(whole, minlength=MAX_SECONDS + 1)
        _add_bounded(self.warnings, _kinds_of_warnings(batch.filter(mask)))

        self.sample.offer(dict.fromkeys(batch.column("video_id").filter(mask).to_pylist()))
        for status, smallest in self.flagged.items():
            with_status = pc.equal(batch.column("caption_status"), status)
            bad = batch.column("video_id").filter(with_status).to_pylist()
            smallest.offer(dict.fromkeys(bad))
        return ids[-1]

    def add_failures(self, batch: pa.RecordBatch) -> None:
        """Count failures."""
        _add_bounded(self.warnings, _kinds_of_warnings(batch))
        errors = _pairs(batch, "stage", "error")
        _add_bounded(self.errors, errors)
        for stage, error in errors:
            if (stage, error) in self.errors:
                same = pc.and_(
                    pc.equal(batch.column("stage"), stage), pc.equal(batch.column("error"), error)
                )
                rows = batch.filter(same).to_pylist()
                self.examples[stage, error].offer({row["video_id"]: row for row in rows[::-1]})


def collect(store: TableStore, parts: Sequence[Part], *, sample: int, seed: int) -> Statistics:
    """Read all rows of a run once.

    Args:
        parts: its partitions, of all three tables.
        sample: videos to show.
        seed: of the choice.

    Raises:
        SourceError: a file is damaged or has other columns.
    """
    statistics = Statistics(sample=sample, seed=seed)
    for part in parts:
        for entry in part.files:
            if part.table == "failures":
                for batch in batches(store, entry, _FAILURE_COLUMNS):
                    statistics.add_failures(batch)
            else:
                last: str | None = None
                for batch in batches(store, entry, _CAPTION_COLUMNS):
                    last = statistics.add_captions(batch, part.label, before=last)
    return statistics


def _counts(column: pa.Array) -> dict[Any, int]:
    """How often each value stands in a column; nulls left out."""
    counted = pc.value_counts(column.drop_null())
    return {item["values"]: item["counts"] for item in counted.to_pylist()}


def _kinds_of_warnings(batch: pa.RecordBatch) -> Counter[str]:
    """How many rows bear each kind of warning: the sentence without its figures and details."""
    if "warnings" not in batch.schema.names:
        return Counter()
    return Counter(
        kind
        for sentences in batch.column("warnings").to_pylist()
        for kind in {
            re.sub(r"\d+(\.\d+)?", "N", sentence.split(": ")[0]) for sentence in sentences or ()
        }
    )


def _pairs(batch: pa.RecordBatch, first: str, second: str) -> dict[tuple[str, str], int]:
    """How often each pair of values stands in two columns."""
    table = pa.Table.from_batches([batch]).group_by([first, second]).aggregate([([], "count_all")])
    return {(row[first], row[second]): row["count_all"] for row in table.to_pylist()}


def _add_bounded(counter: Counter[_K], counts: Mapping[_K, int]) -> None:
    """Add what is known already, and what is new while there is room for it."""
    for key, count in counts.items():
        if key in counter or len(counter) < _MAX_KINDS:
            counter[key] += count
