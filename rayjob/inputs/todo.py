"""The to-do list of a run: the inputs it is to process, as Parquet under ``runs/ID/todo``.

Written before the graph starts, it lets the graph stream its inputs with bounded memory,
and lets the end of the run prove that every one of them reached a table. It holds addresses as
workers need them, with signatures and passwords; so only the owner may read it where the storage
is a local disk, and it is deleted when the run ends, or when the next one starts.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.storage.uris import public_text, public_uri, split_segment
from rayjob.ids import Earlier, IdMap, has_changed, has_moved, places, stamps
from rayjob.ids.hashing import digests
from rayjob.inputs.columns import Listed, table_of
from rayjob.inputs.manifests import Input
from rayjob.output.layout import run_folder
from rayjob.output.store import TableStore
from schemas.blocks import INPUTS
from schemas.errors import SourceError

ROWS_PER_FILE = 8192
BYTES_PER_FILE = 64 << 20
"""Of a file's rows in memory: captions that are to be fused can be long."""

ROWS_PER_GROUP = 512
"""What the graph reads at a time."""

_EXAMPLES = 10
_FEW = 256
_LIST = re.compile(r"runs/[^/]+/todo/")


class Portion(NamedTuple):
    """Rows of the to-do list that stand side by side.

    Attributes:
        path, group: file, from the root of the output, and row group.
        first, rows: which of the row group.
    """

    path: str
    group: int
    first: int
    rows: int

    def piece(self, part: int, *, of: int) -> Portion:
        """One of so many parts of about the same size."""
        first, end = (self.rows * each // of for each in (part, part + 1))
        return self._replace(first=self.first + first, rows=end - first)


@dataclass(frozen=True, kw_only=True)
class TodoList:
    """What there is to do.

    Attributes:
        total: different inputs looked at; with a limit not more than it took to reach it.
        manifest_rows: how many times it was a row of a manifest that was looked at.
        repeated: inputs looked at that had been listed before, and count once.
        repeated_example: id of one of them, None without any.
        skipped: inputs that earlier runs finished.
        todo: inputs of this run; ``total - skipped``.
        retried: inputs among ``todo`` that failed in an earlier run.
        changed: inputs whose content changed since they were done; among ``todo`` if the run
            takes them again, else among ``skipped``.
        replaced: inputs among ``todo`` that are captioned with other settings, and did not fail.
        gone: inputs that earlier runs finished and that are not among ``total``;
            0 with a limit, which does not look at all of them.
        moved: inputs among ``skipped`` that were finished under another uri; the same
            data in a new place, or different data under ids that are already taken.
        moved_example: id of one of them, None without any.
        files: from the root of the output, in order; none without anything to do.
        rows: how many rows each of them has.
    """

    total: int
    manifest_rows: int
    repeated: int
    repeated_example: str | None
    skipped: int
    todo: int
    retried: int
    changed: int
    replaced: int
    gone: int
    moved: int
    moved_example: str | None
    files: tuple[str, ...]
    rows: tuple[int, ...]

    def shared_out(self, count: int) -> list[list[Portion]]:
        """The list in so many parts of about the same size: row groups in turn, and of the last
        few, which are not one for each, a piece.
        """
        groups = [
            Portion(file, group, 0, min(ROWS_PER_GROUP, rows - group * ROWS_PER_GROUP))
            for file, rows in zip(self.files, self.rows, strict=True)
            for group in range(-(-rows // ROWS_PER_GROUP))
        ]
        whole = len(groups) // count * count
        return [
            groups[part:whole:count]
            + [piece for group in groups[whole:] if (piece := group.piece(part, of=count)).rows]
            for part in range(count)
        ]


@dataclass(frozen=True, kw_only=True)
class Unaccounted:
    """Inputs that reached neither table: how many, and the first few ids."""

    count: int
    examples: tuple[str, ...]


def write_todo(
    store: TableStore,
    run_id: str,
    inputs: Iterable[Listed],
    earlier: Earlier,
    *,
    limit: int | None = None,
    retake_changed: bool = False,
) -> TodoList:
    """Write the inputs that are not done, in their order.

    Lists that other runs left are deleted, so the caller must hold the lock.

    Args:
        limit: inputs to process at most in this run. Inputs that are done do not count,
            so the same command with the same limit makes progress each time.
        retake_changed: an input is not done if its content is known to have changed.

    Raises:
        SourceError: two inputs with different uris share an id.
        UsageError, OutputUnavailableError: as :meth:`TableStore.write_bytes`.
    """
    discard_todo(store)
    selection = _Selection(earlier, limit, retake_changed)
    files, rows = [], []
    for number, table in enumerate(_files(selection.tables(inputs))):
        file = f"{_folder(run_id)}/part-{number:05d}.parquet"
        store.write_table(file, table, row_group_size=ROWS_PER_GROUP, private=True)
        files.append(file)
        rows.append(table.num_rows)
    return selection.info(tuple(files), tuple(rows))


def discard_todo(store: TableStore) -> None:
    """Delete the to-do lists of all runs; under the lock."""
    for entry in list(store.list("runs", suffix=".parquet")):
        if _LIST.match(entry.path):
            store.delete(entry.path)


def plan_todo(
    inputs: Iterable[Listed],
    earlier: Earlier,
    *,
    limit: int | None = None,
    retake_changed: bool = False,
) -> TodoList:
    """What :func:`write_todo` would find; writes nothing. Raises SourceError as it does."""
    selection = _Selection(earlier, limit, retake_changed)
    for _table in selection.tables(inputs):
        pass
    return selection.info((), ())


def unaccounted(store: TableStore, run_id: str, *, seen: IdMap, present: IdMap) -> Unaccounted:
    """Inputs of the to-do list that this run has not seen the end of, or that no table holds.

    Args:
        seen: the videos that came out of the graph.
        present: the videos in the tables, as they are stored now.

    Raises:
        OutputUnavailableError: the list cannot be read.
    """
    count, examples = 0, list[str]()
    for entry in store.list(_folder(run_id), suffix=".parquet"):
        ids = store.read_table(entry, ["video_id"]).column("video_id")
        keys = digests(ids)
        missing = np.flatnonzero((seen.find_keys(keys) < 0) | (present.find_keys(keys) < 0))
        count += len(missing)
        examples += ids.take(missing[: _EXAMPLES - len(examples)]).to_pylist()
    return Unaccounted(count=count, examples=tuple(examples))


class _Selection:
    """Picks the inputs to process, and counts the others."""

    def __init__(self, earlier: Earlier, limit: int | None, retake_changed: bool) -> None:
        self._earlier = earlier
        self._limit = limit
        self._retake_changed = retake_changed
        self._listed = IdMap()
        self._skipped = self._todo = self._moved = 0
        self._found = self._retried = self._changed = self._replaced = 0
        self._rows = self._repeated = 0
        self._moved_example: str | None = None
        self._repeated_example: str | None = None

    def info(self, files: tuple[str, ...], rows: tuple[int, ...]) -> TodoList:
        return TodoList(
            total=self._skipped + self._todo,
            manifest_rows=self._rows,
            repeated=self._repeated,
            repeated_example=self._repeated_example,
            skipped=self._skipped,
            todo=self._todo,
            retried=self._retried,
            changed=self._changed,
            replaced=self._replaced,
            gone=len(self._earlier.done) - self._found if self._limit is None else 0,
            moved=self._moved,
            moved_example=self._moved_example,
            files=files,
            rows=rows,
        )

    def tables(self, inputs: Iterable[Listed]) -> Iterator[pa.Table]:
        """Tables of :data:`INPUTS`, some thousands of rows or fewer each."""
        if self._limit == 0:
            return
        for is_table, group in itertools.groupby(inputs, lambda each: isinstance(each, pa.Table)):
            while batch := next(group, None) if is_table else _batch(group, self._most()):
                yield self._select(batch)
                if self._limit is not None and self._todo >= self._limit:
                    return

    def _most(self) -> int:
        if self._limit is None:
            return ROWS_PER_FILE
        # Listing a storage costs requests: not thousands of names for a few videos.
        return min(ROWS_PER_FILE, max(_FEW, self._limit - self._todo))

    def _select(self, batch: pa.Table) -> pa.Table:
        ids, uris = (batch.column(name).combine_chunks() for name in ("video_id", "uri"))
        where = places(uris)
        earlier = self._listed.add(ids, where)
        for index in np.flatnonzero((earlier >= 0) & (earlier != where)):
            video_id, uri = ids[index].as_py(), uris[index].as_py()
            before = uris.slice(0, index).filter(pc.equal(ids.slice(0, index), video_id))
            same = public_uri(before[0].as_py()) if len(before) else "one long before it"
            raise SourceError(
                f"two inputs have the id {video_id!r}: {public_uri(uri)} and {same}. "
                "Ids are paths relative to each --input: use their common parent as the input, "
                "or a manifest with a video_id column"
            )
        finished = self._earlier.done.find(ids)
        now = stamps(uris, batch.column("source_version"))
        is_new, is_found = earlier < 0, finished >= 0
        is_changed = is_new & has_changed(finished, now)
        is_done = is_found & ~is_changed if self._retake_changed else is_found
        chosen = np.flatnonzero(is_new & ~is_done)
        stop = batch.num_rows
        if self._limit is not None and len(chosen) >= self._limit - self._todo:
            # What comes after the last one taken is not part of this run, nor counted.
            chosen = chosen[: self._limit - self._todo]
            stop = int(chosen[-1]) + 1
        is_new, is_done = is_new[:stop], is_done[:stop]
        again = np.flatnonzero(~is_new)
        if len(again) and self._repeated_example is None:
            self._repeated_example = ids[again[0]].as_py()
        self._repeated += len(again)
        self._rows += pc.sum(batch.column("in_manifest").slice(0, stop)).as_py() or 0
        moved = np.flatnonzero(is_new & is_done & has_moved(finished[:stop], now[:stop]))
        if len(moved) and self._moved_example is None:
            self._moved_example = ids[moved[0]].as_py()
        self._moved += len(moved)
        self._found += int((is_new & is_found[:stop]).sum())
        self._changed += int(is_changed[:stop].sum())
        self._skipped += int((is_new & is_done).sum())
        self._todo += len(chosen)

        taken = _adjacent(batch.take(chosen))
        tried = np.maximum(self._earlier.attempts.find(taken.column("video_id")), 0)
        self._retried += int((tried > 0).sum())
        replaced = self._earlier.replaced.find(taken.column("video_id")) >= 0
        self._replaced += int((replaced & (tried == 0)).sum())
        columns = {name: taken.column(name) for name in taken.column_names}
        columns["attempts"] = pa.array(tried, pa.int32())
        if columns["metadata"].null_count < taken.num_rows:
            shown = map(_without_secrets, columns["metadata"].to_pylist())
            columns["metadata"] = pa.array(shown, pa.string())
        return pa.table([columns[name] for name in INPUTS.names], schema=INPUTS)


def _adjacent(inputs: pa.Table) -> pa.Table:
    """The inputs in their order, but for segments, which follow the first of their file: whoever
    decodes one has the file open for the next.
    """
    if not pc.any(pc.match_substring(inputs.column("uri"), "#")).as_py():
        return inputs
    by_file: dict[str, list[int]] = {}
    for index, uri in enumerate(inputs.column("uri").to_pylist()):
        by_file.setdefault(split_segment(uri)[0], []).append(index)
    return inputs.take([index for group in by_file.values() for index in group])


def _without_secrets(metadata: str | None) -> str | None:
    """The metadata, and the addresses in it as tables show addresses."""
    if metadata is None or "://" not in metadata:
        return metadata

    def shown(value: Any) -> Any:
        if isinstance(value, dict):
            return {public_text(name): shown(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [shown(inner) for inner in value]
        return public_text(value) if isinstance(value, str) else value

    # It is ASCII where it holds what only an escape can tell.
    return json.dumps(shown(json.loads(metadata)), sort_keys=True, ensure_ascii=metadata.isascii())


def _batch(inputs: Iterator[Input], size: int) -> pa.Table:
    """The next ``size`` inputs, or fewer with much text."""
    batch, room = list[Input](), BYTES_PER_FILE
    for each in itertools.islice(inputs, size):
        batch.append(each)
        room -= len(each.material or "") + len(each.metadata or "")
        if room <= 0:
            break
    return table_of(batch)


def _files(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of ROWS_PER_FILE or BYTES_PER_FILE, the last one smaller; none of
    them empty.
    """
    waiting = INPUTS.empty_table()
    for table in tables:
        waiting = pa.concat_tables([waiting, table])
        while waiting.num_rows >= ROWS_PER_FILE or waiting.nbytes >= BYTES_PER_FILE:
            rows = min(ROWS_PER_FILE, waiting.num_rows)
            if waiting.nbytes > BYTES_PER_FILE:
                rows = max(1, min(rows, waiting.num_rows * BYTES_PER_FILE // waiting.nbytes))
            yield waiting.slice(0, rows).combine_chunks()
            waiting = waiting.slice(rows)
    if waiting.num_rows:
        yield waiting.combine_chunks()


def _folder(run_id: str) -> str:
    return f"{run_folder(run_id)}/todo"
