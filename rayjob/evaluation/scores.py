"""The score table: one row per video, item and dimension, kept for audits and for reruns.

::

    ROOT/scores/suite=S/run_id=ID/*.parquet     SCORES

While an evaluation goes, what the judge says is appended in small files; when it ends they
are merged into one, in which each key stands once.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args, get_type_hints
from urllib.parse import quote

import pyarrow as pa

from rayjob.output.store import Entry, TableStore
from schemas.structured import arrow_type
from schemas.tables import utc_now

Method = Literal["judge", "equality", "normalised match", "formula"]

_PART_ROWS = 500
_PART_SECONDS = 30.0
"""What a killed evaluation can lose at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One score, or the reason why it is missing.

    Attributes:
        recipe, model: who wrote the caption, "" where unknown.
        duration_sec: of the video, in seconds.
        item: which part of the caption or which question, "" for the caption as a whole.
        score: on the dimension's own scale; None is unscored, never zero.
        reason: why it is unscored, or why it is what it is without having been asked.
        method: how it was found; the judge's columns are None unless it is "judge".
        prompt_hash: of the prompt's template; question_hash: of all that the judge was sent.
        question, raw_answer: what the judge was asked and what it answered, word for word.
    """

    video_id: str
    recipe: str = ""
    model: str = ""
    caption_hash: str = ""
    duration_sec: float | None = None
    item: str = ""
    dimension: str
    score: float | None
    reason: str | None = None
    method: Method = "judge"
    judge_model: str | None = None
    prompt_hash: str | None = None
    question_hash: str | None = None
    question: str | None = None
    raw_answer: str | None = None
    created_at: datetime = field(default_factory=utc_now)

    @property
    def key(self) -> tuple[str | None, ...]:
        """What stands once in a finished table."""
        return (
            self.video_id, self.recipe, self.caption_hash, self.item, self.dimension,
            self.judge_model, self.prompt_hash,
        )  # fmt: skip


SCORES = pa.schema(
    [
        pa.field(name, arrow_type(hint), nullable=type(None) in get_args(hint))
        for name, hint in get_type_hints(Score).items()
    ]
)
"""The columns of the table: the attributes of :class:`Score`."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An answer that a judge gave earlier.

    Attributes:
        complete: every dimension that was asked for got its score.
    """

    raw_answer: str
    created_at: datetime
    complete: bool


class ScoreStore:
    """The scores of one suite and one run below a root, and the answers of all runs.

    Args:
        store: the root of ``scores/``.
    """

    def __init__(self, store: TableStore, *, suite: str, run_id: str) -> None:
        self.store = store
        self._suite = f"scores/suite={suite}"
        self.folder = f"{self._suite}/run_id={quote(run_id, safe='')}"
        self._waiting: list[Score] = []
        self._written_at = time.monotonic()

    def load_answers(self, judge_model: str) -> dict[str, Stored]:
        """question_hash -> what this judge answered, in any run of the suite."""
        answers: dict[tuple[str, str], Stored] = {}
        for row in (row for entry in self._entries(self._suite) for row in self._read(entry)):
            if row.judge_model != judge_model or not row.question_hash or row.raw_answer is None:
                continue
            key = row.question_hash, row.raw_answer
            before = answers.get(key)
            answers[key] = Stored(
                raw_answer=row.raw_answer,
                created_at=max(row.created_at, before.created_at) if before else row.created_at,
                complete=row.score is not None and (before is None or before.complete),
            )
        # Of several answers to a question the last complete one serves, else the last.
        order = sorted(answers.items(), key=lambda each: (each[1].complete, each[1].created_at))
        return {digest: stored for (digest, _), stored in order}

    def add(self, rows: Iterable[Score]) -> None:
        """Keep rows; they reach the storage with the next part."""
        self._waiting.extend(rows)
        aged = time.monotonic() - self._written_at > _PART_SECONDS
        if len(self._waiting) >= _PART_ROWS or (self._waiting and aged):
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self._waiting:
            self._write("part", self._waiting)
            self._waiting = []
        self._written_at = time.monotonic()

    def finish(self, rows: Sequence[Score]) -> None:
        """Write the run's rows as one file, with what other judges and captions have cost.

        Earlier rows that no judge gave go: they cost nothing and may be out of date.
        """
        self.flush()
        before = list(self._entries(self.folder))
        earlier = [row for entry in before for row in self._read(entry)]
        paid = [row for row in earlier if row.question_hash is not None]
        merged = _deduplicated([*paid, *rows])
        if merged:
            self._write("scores", merged)
        for entry in before:
            self.store.delete(entry.path)

    def _entries(self, folder: str) -> Iterable[Entry]:
        return self.store.list(folder, suffix=".parquet")

    def _read(self, entry: Entry) -> list[Score]:
        table = self.store.read_table(entry)
        return [Score(**row) for row in table.select(SCORES.names).to_pylist()]

    def _write(self, kind: str, rows: Sequence[Score]) -> None:
        table = pa.Table.from_pylist([dataclasses.asdict(row) for row in rows], schema=SCORES)
        self.store.write_table(f"{self.folder}/{kind}-{secrets.token_hex(6)}.parquet", table)


def _deduplicated(rows: Iterable[Score]) -> list[Score]:
    newest: dict[tuple[str | None, ...], Score] = {}
    for row in rows:
        before = newest.get(row.key)
        if before is None or row.created_at >= before.created_at:
            newest[row.key] = row
    return sorted(newest.values(), key=lambda row: (row.video_id, row.item, row.dimension))
