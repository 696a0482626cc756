"""The spans of a video that a manifest's row names, in the notations of published data sets.

* Two columns: the pairs of :data:`PAIRS`, of which the first counts that is there whole. A cell
  that is empty stands for the video's own begin or end.
* One column (:data:`LISTS`) with a span as a list of two times, or with a list of such: then each
  is a segment, and the other columns with a list of the same length go along, element by element.
  In files of text the lists are written as Python or JSON writes them.

Times are seconds or ``H:MM:SS.mmm``. What is not a span becomes a fragment that
:func:`actors.storage.segments.segment_of` refuses, so that it costs one input and not the run.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from actors.storage.segments import fragment_of

PAIRS = (
    # Of this project's own tables, whose start_sec and end_sec are those of a caption.
    ("segment_start_sec", "segment_end_sec"),
    ("start_sec", "end_sec"),
    ("start", "end"),
    ("start_time", "end_time"),
    ("start_timestamp", "end_timestamp"),
    ("clip_start", "clip_end"),
)

LISTS = ("timestamp", "timestamps", "span", "spans", "segments")

_LONGEST_LIST = 1 << 20
"""Characters of a list that is written as text."""


class Spanned(NamedTuple):
    """A row of one segment.

    Attributes:
        fragment: the span as the end of an address, "" for the whole video.
        row: the other columns.
        is_one_of_many: whether the row that it comes from has a list of spans.
    """

    fragment: str
    row: Mapping[str, Any]
    is_one_of_many: bool = False


def spanned(row: Mapping[str, Any]) -> Iterator[Spanned]:
    """The segments that a row stands for, at least one.

    Args:
        row: cells by column; names in upper or lower case.
    """
    columns = {name.strip().lower(): name for name in row}
    for pair in PAIRS:
        if not set(pair) <= set(columns):
            continue
        begin, end = (columns[name] for name in pair)
        rest = {name: cell for name, cell in row.items() if name not in (begin, end)}
        yield Spanned(fragment_of(_time(row[begin]), _time(row[end])), rest)
        return
    for name in LISTS:
        cell = row[columns[name]] if name in columns else None
        if _is_list(cell):
            rest = {each: row[each] for each in row if each != columns[name]}
            yield from _of_list(_listed(cell), cell, rest)
            return
    yield Spanned("", row)


def _of_list(
    cell: Sequence[Any] | None, written: Any, rest: Mapping[str, Any]
) -> Iterator[Spanned]:
    if cell is None:
        # All of the video would be captioned in the place of its segments.
        yield Spanned(fragment_of(f"{written:.100}", None), rest)
        return
    if len(cell) == 0 or not all(isinstance(each, (list, tuple)) for each in cell):
        yield Spanned(_fragment(cell), rest)
        return
    beside = {name: _listed(value) for name, value in rest.items()}
    for index, span in enumerate(cell):
        own = {
            name: each[index] if each is not None and len(each) == len(cell) else rest[name]
            for name, each in beside.items()
        }
        yield Spanned(_fragment(span), own, is_one_of_many=True)


def _fragment(span: Sequence[Any]) -> str:
    if len(span) != 2:
        return fragment_of(f"{list(span)}", None)
    begin, end = (_time(each) for each in span)
    # A list that says nothing is no way to write a whole video.
    return fragment_of(begin, end) or fragment_of("an empty time", None)


def _time(value: Any) -> float | str | None:
    """Seconds, or the time as it is written."""
    if value is None or isinstance(value, (str, float)):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    seconds = getattr(value, "total_seconds", None)
    return float(seconds()) if seconds is not None else str(value)


def _is_list(value: Any) -> bool:
    """Whether a cell is a list, or is written as one."""
    return isinstance(value, (list, tuple)) or (
        isinstance(value, str) and value.lstrip().startswith("[")
    )


def _listed(value: Any) -> Sequence[Any] | None:
    """A cell's list, also where it is written as text; None for any other cell, and for a text that
    cannot be read.
    """
    if isinstance(value, (list, tuple)):
        return value
    if not _is_list(value):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value.strip()) if len(value) <= _LONGEST_LIST else None
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, (list, tuple)):
            return found
    return None
