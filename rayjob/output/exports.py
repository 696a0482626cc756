"""Captions in the layouts that others' tools read, beside the tables.

``exports/NAME_fusion_caption.csv``, ``exports/NAME.csv``
    As SkyCaptioner's scripts write it: the input's rows in its order with all their columns, and
    the caption in one more. NAME is the captioning's name, by default its recipe or task.
``exports/NAME.jsonl``
    For instruction tuning: one conversation per line, ``video`` and ``messages``, with
    the request drawn from ``rayjob/recipes/prompts/requests.txt``.

Both hold all valid captions of whole videos of that name in the output, of earlier runs too, and
are replaced as a whole after each run.
"""

from __future__ import annotations

import contextlib
import csv as csv_format
import json
import random
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from rayjob.output.commits import shards
from rayjob.output.layout import ResultTables
from rayjob.output.store import TableStore

FOLDER = "exports"

_COLUMNS = ["video_id", "uri", "caption", "caption_status", "level", "duration_sec", "metadata"]

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
            _rows(store, tables),
        )
        both.executemany("INSERT INTO inputs VALUES (?, ?)", map(_stored, inputs))
        names = {name: None for cells in _with_captions(both) for name in cells}
        names.pop(_CAPTION, None)
        header = [name for name in names or ("path",) if name != column]
        store.write_lines(f"{FOLDER}/{file}", _csv_lines(_with_captions(both), header, column))


def write_jsonl(store: TableStore, tables: ResultTables, file: str) -> None:
    """Write a conversation for each valid caption; raises as :func:`write_csv`."""
    store.write_lines(f"{FOLDER}/{file}", _jsonl_lines(_rows(store, tables)))


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


class _Lines:
    """For ``csv.writer``, whose ``writerow`` returns what this returns."""

    def write(self, line: str) -> str:
        return line


def _csv_lines(rows: Iterable[Row], header: Sequence[str], column: str) -> Iterator[str]:
    writer: Any = csv_format.writer(_Lines(), lineterminator="\n")
    yield writer.writerow([*header, column])
    for row in rows:
        yield writer.writerow([_cell(row.get(name)) for name in (*header, _CAPTION)])


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _jsonl_lines(rows: Iterable[Row]) -> Iterator[str]:
    text = files("rayjob.recipes").joinpath("prompts", "requests.txt").read_text("utf-8")
    requests = [line for line in text.splitlines() if line.strip()]
    for row in rows:
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
