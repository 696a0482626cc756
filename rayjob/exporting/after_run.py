"""Captions in the layouts that others' tools read, beside the tables.

``exports/NAME_fusion_caption.csv``, ``exports/NAME.csv``
    As SkyCaptioner's scripts write it: the input's rows in its order with all their columns, and
    the caption in one more. NAME is the captioning's name, by default its recipe or task.
``exports/NAME.jsonl``
    For instruction tuning: one conversation per line (:mod:`rayjob.exporting.conversations`). Of
    several samples of a video the one with the highest reward.
``exports/NAME-groups.jsonl``, ``exports/NAME-preferences.jsonl``
    Of several samples: all of a video with their rewards, the best as ``solution``; and the best
    beside the worst, where their rewards differ. A reward is the mean of one by length and, where
    suite ``ugc`` has judged the sample, one by its grades; each is from 0 to 1.

Both hold all valid captions of whole videos of that name in the output, of earlier runs too, and
are replaced as a whole after each run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

from rayjob.exporting.conversations import COLUMNS, conversation, head, user_turn
from rayjob.exporting.spreadsheet import csv_lines
from rayjob.output.commits import shards
from rayjob.output.layout import ResultTables
from rayjob.output.store import TableStore
from rayjob.recipes.rewards import length_score
from rayjob.recipes.wording import words

FOLDER = "exports"

_COLUMNS = [*COLUMNS, "caption_status", "metadata", "sample"]

Row = Mapping[str, Any]
"""The cells of an input's row by column."""


def write_csv(
    store: TableStore,
    tables: ResultTables,
    file: str,
    *,
    inputs: Iterable[tuple[str, Row | None]],
    column: str,
) -> None:
    """Write a table of the inputs with their captions. Inputs without a valid caption are left out;
    captions of videos that are not among the inputs any more come last.

    Args:
        file: its name.
        inputs: (video_id, its row; None where it had none), in their order.
        column: that the captions stand in.

    Raises:
        UsageError, OutputUnavailableError: as
            :meth:`rayjob.output.store.TableStore.write_bytes`.
    """
    # A database in a file without a name: neither captions nor inputs need to fit into memory.
    with contextlib.closing(sqlite3.connect("")) as both:
        both.execute("CREATE TABLE captions (id TEXT PRIMARY KEY, uri TEXT, more TEXT, text TEXT)")
        both.execute("CREATE TABLE inputs (id TEXT, cells TEXT)")
        both.executemany(
            "INSERT OR REPLACE INTO captions VALUES (:video_id, :uri, :metadata, :caption)",
            # Of several samples the first.
            (row for row in _rows(store, tables) if not row.get("sample")),
        )
        both.executemany("INSERT INTO inputs VALUES (?, ?)", map(_stored, inputs))
        names = {name: None for cells in _with_captions(both) for name in cells}
        names.pop(_CAPTION, None)
        header = [name for name in names or ("path",) if name != column]
        lines = csv_lines(_rows_of(_with_captions(both), header, column))
        store.write_lines(f"{FOLDER}/{file}", lines)


def write_jsonl(store: TableStore, tables: ResultTables, name: str, *, reward_words: int) -> None:
    """Write a conversation for each video with a valid caption, and of several samples the groups
    and the pairs of preference; raises as :func:`write_csv`.

    Args:
        name: of the files, without an ending.
        reward_words: length at which the reward by length is 1.
    """
    rewards = Rewards(words=reward_words, grades=_grades(store))
    for ending, lines in (("", _conversations), ("-groups", _groups), ("-preferences", _pairs)):
        videos = _videos(_rows(store, tables), rewards)
        text = (json.dumps(each, ensure_ascii=False) + "\n" for each in lines(videos))
        first = next(text, None)
        if first is not None or not ending:
            store.write_lines(f"{FOLDER}/{name}{ending}.jsonl", chain([first or ""], text))


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """What a sample is worth.

    Attributes:
        words: the best length.
        grades: (video_id, hash of the caption) -> mean grade from 1 to 5.
    """

    words: int
    grades: Mapping[tuple[str, str], float]

    def of(self, row: Row) -> dict[str, float | None]:
        """``reward``, and what it is the mean of; the grade is None where nobody graded."""
        by_length = length_score(self.words, len(words(row["caption"]))) / 100
        digest = hashlib.sha256(row["caption"].encode("utf-8", "replace")).hexdigest()[:16]
        grade = self.grades.get((row["video_id"], digest))
        by_grade = None if grade is None else (grade - 1) / 4
        both = [by_length] if by_grade is None else [by_length, by_grade]
        return {
            "reward": sum(both) / len(both),
            "reward_length": by_length,
            "reward_rubric": by_grade,
        }


def _grades(store: TableStore) -> dict[tuple[str, str], float]:
    """See :attr:`Rewards.grades`: the mean over the judge's dimensions."""
    given: dict[tuple[str, str], list[float]] = {}
    for entry in store.list("scores/suite=ugc", suffix=".parquet"):
        columns = ["video_id", "caption_hash", "dimension", "score"]
        for row in store.read_table(entry, columns).to_pylist():
            if row["dimension"] in ("visual", "audio", "details") and row["score"] is not None:
                key = row["video_id"], row["caption_hash"]
                given.setdefault(key, []).append(row["score"])
    return {key: sum(scores) / len(scores) for key, scores in given.items()}


@dataclass(frozen=True, kw_only=True)
class _Video:
    """A video with its samples, the best first."""

    samples: list[dict[str, Any]]

    @property
    def conversation(self) -> dict[str, Any]:
        return conversation(self.samples[0])


def _videos(rows: Iterable[dict[str, Any]], rewards: Rewards) -> Iterator[_Video]:
    """Rows of a video stand together: they are written into one shard."""
    for _, group in groupby(rows, key=lambda row: str(row["video_id"])):
        samples = [row | rewards.of(row) for row in group]
        samples.sort(key=lambda row: -row["reward"])
        yield _Video(samples=samples)


def _conversations(videos: Iterable[_Video]) -> Iterator[dict[str, Any]]:
    for each in videos:
        yield each.conversation


def _groups(videos: Iterable[_Video]) -> Iterator[dict[str, Any]]:
    told = ("sample", "reward", "reward_length", "reward_rubric")
    for each in videos:
        if len(each.samples) > 1:
            samples = [{"text": row["caption"]} | {name: row.get(name) for name in told}
                       for row in each.samples]  # fmt: skip
            best = each.samples[0]
            yield head(best) | {
                "messages": [user_turn(best["video_id"])],
                "solution": best["caption"],
                "samples": samples,
            }


def _pairs(videos: Iterable[_Video]) -> Iterator[dict[str, Any]]:
    for each in videos:
        best, worst = each.samples[0], each.samples[-1]
        if best["reward"] > worst["reward"]:
            yield each.conversation | {"rejected_response": worst["caption"]}


def _rows(store: TableStore, tables: ResultTables) -> Iterator[dict[str, Any]]:
    for entry in shards(store, tables.captions):
        for row in store.read_table(entry, _COLUMNS).to_pylist():
            if row["caption_status"] == "ok" and row["level"] == "video":
                yield row


def _stored(given: tuple[str, Row | None]) -> tuple[str, str | None]:
    video_id, row = given
    return video_id, None if row is None else json.dumps(row, default=str)


_CAPTION = ""
"""Stands for the caption's column, as no column of an input is named."""

_INPUTS = """SELECT cells, uri, more, text FROM inputs JOIN captions USING (id)
ORDER BY inputs.rowid"""
_OTHERS = """SELECT NULL, uri, more, text FROM captions
WHERE id NOT IN (SELECT id FROM inputs) ORDER BY captions.rowid"""


def _with_captions(both: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """The cells of each row that is written, the caption among them."""
    for query in (_INPUTS, _OTHERS):
        for cells, uri, more, text in both.execute(query):
            row = json.loads(cells) if cells else {"path": uri, **json.loads(more or "{}")}
            yield {**row, _CAPTION: text}


def _rows_of(rows: Iterable[Row], header: Sequence[str], column: str) -> Iterator[list[Any]]:
    yield [*header, column]
    for row in rows:
        yield [_cell(row.get(name)) for name in (*header, _CAPTION)]


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
