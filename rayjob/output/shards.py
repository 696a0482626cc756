"""The sink: results of videos become Parquet shards of captions and failures.

The driver is the only writer. A shard appears whole, and a video's rows never spread over
two shards, so whatever kills the driver leaves tables that hold each key once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayjob.counts import Counts
from rayjob.ids import IdMap
from rayjob.output.commits import next_part_of
from rayjob.output.layout import ResultTables, shard_name
from rayjob.output.lock import RunLock
from rayjob.output.store import TableStore
from schemas.config import ShardConfig
from schemas.errors import WriteError
from schemas.tables import FAILURES, FailureRow, failures_of, rows_of, schema_of

logger = logging.getLogger(__name__)

_INBOX_VIDEOS = 512
"""Videos that are taken in together: Arrow's calls cost about the same for one as for many."""


class ShardSink:
    """Collects results and publishes them as shards. Safe to call from several threads.

    Args:
        store: the output folder.
        tables, run_id: where to. A run that goes on under the same id adds shards.
        config: how large and how old a shard gets.
        lock: what proves, before each shard, that this run still owns the output; its epoch
            is part of the shards' names.
        settings_hash: the column of that name in every row.
    """

    def __init__(
        self,
        store: TableStore,
        *,
        tables: ResultTables,
        run_id: str,
        config: ShardConfig,
        lock: RunLock,
        settings_hash: str | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._lock = lock
        self._settings_hash = settings_hash
        self._folders = tables.in_run(run_id)
        self._part = next_part_of(store, tables)
        self._inbox: list[pa.Table] = []
        self._inbox_videos = min(_INBOX_VIDEOS, config.rows)
        self._schema = tables.rows
        self._captions: list[pa.Table] = []
        self._failures: list[pa.Table] = []
        self._rows = 0
        self._oldest = 0.0
        self._mutex = threading.RLock()
        self.seen = IdMap()
        """Ids of the videos taken in this run, up to date after :meth:`tick`."""
        self.counts = Counts()
        """What was taken in this run, up to date after :meth:`tick`."""

    def write(self, results: pa.Table) -> None:
        """Take a table of :data:`schemas.tables.RESULTS` (or ``SPLITS``), one row per video.

        A video that came before in this run (a task that Ray ran again) is dropped. One
        whose rows do not fit the tables costs a row in ``failures``, not the run. One
        without any row is not taken, so that the end of the run finds it unaccounted for.

        Raises:
            OutputLockedError: another run took the output over; nothing was published.
            UsageError, OutputUnavailableError: a shard cannot be written.
        """
        with self._mutex:
            if not results.num_rows:
                return
            if not self._rows and not self._inbox:
                self._oldest = time.monotonic()
            self._inbox.append(results.select(schema_of(results).names))
            if sum(table.num_rows for table in self._inbox) >= self._inbox_videos:
                self._take()
            self._publish_if_old()

    def tick(self) -> None:
        """Bring the counts up to date and publish a shard that is old enough.

        Call it now and then, also while nothing arrives. Raises as :meth:`write` does.
        """
        with self._mutex:
            self._take()
            self._publish_if_old()

    def close(self) -> None:
        """Publish what is left. Raises as :meth:`write` does."""
        with self._mutex:
            self._take()
            if self._rows:
                self._publish()

    def _publish_if_old(self) -> None:
        if time.monotonic() - self._oldest < self._config.seconds:
            return
        self._take()
        if self._rows:
            self._publish()

    def _take(self) -> None:
        """Move what arrived into the shard, and count it."""
        if not self._inbox:
            return
        results = pa.concat_tables(self._inbox, promote_options="default").combine_chunks()
        self._inbox = []
        new = _sound(self._new_videos(results))
        self.counts += Counts.of(new)
        for piece in self._pieces(new):
            captions, failures = rows_of(piece), failures_of(piece)
            self._captions.append(captions)
            self._failures.append(failures)
            self._rows += captions.num_rows + failures.num_rows
            if self._rows >= self._config.rows:
                self._publish()

    def _new_videos(self, results: pa.Table) -> pa.Table:
        ids = results.column("video_id")
        wanted = _rows_per_video(results) > 0
        for index in np.flatnonzero(~wanted):
            logger.error("%s came back with neither a caption nor a failure", ids[index])
        present = np.flatnonzero(wanted)
        wanted[present] = self.seen.add(ids.take(present)) < 0
        # Nested columns take long to filter, and nearly always there is nothing to drop.
        return results if wanted.all() else results.filter(pa.array(wanted))

    def _pieces(self, results: pa.Table) -> Iterator[pa.Table]:
        """Cut between videos so that shards close at the configured size."""
        start, room = 0, self._config.rows - self._rows
        for index, rows in enumerate(_rows_per_video(results).tolist()):
            room -= rows
            if room <= 0:
                yield results.slice(start, index + 1 - start)
                start, room = index + 1, self._config.rows
        if start < results.num_rows:
            yield results.slice(start)

    def _publish(self) -> None:
        """Write both tables of a shard under one name.

        Failures go first: a crash in between must not make a video of which a part failed
        look complete.
        """
        # A write of a process that was taken for dead may land late: the epoch in the name
        # keeps it from replacing a shard, and tells that it is late.
        name = shard_name(self._part, self._lock.epoch)
        for folder, pieces, schema in (
            (self._folders.failures, self._failures, FAILURES),
            (self._folders.captions, self._captions, self._schema),
        ):
            rows = pa.concat_tables([schema.empty_table(), *pieces])
            if rows.num_rows:
                column = pa.array([self._settings_hash] * rows.num_rows, pa.string())
                at = schema.get_field_index("settings_hash")
                rows = rows.set_column(at, schema.field(at), column)
                self._store.write_table(f"{folder}/{name}", rows, guard=self._lock.check, once=True)
        self._part += 1
        self._captions, self._failures, self._rows = [], [], 0
        self._oldest = time.monotonic()


def _sound(results: pa.Table) -> pa.Table:
    """The same videos; a failure in place of rows that the tables cannot hold."""
    try:
        _check(results)
        return results
    except (ValueError, pa.ArrowException):
        pieces = [schema_of(results).empty_table()]
    for index in range(results.num_rows):
        piece = results.slice(index, 1)
        try:
            _check(piece)
            pieces.append(piece)
        except (ValueError, pa.ArrowException) as error:
            pieces.append(_unwritable(piece, error))
    # Blocks may have lost on their way which fields are never null.
    return pa.concat_tables(pieces, promote_options="default")


def _check(results: pa.Table) -> None:
    """Raise ValueError or ArrowException where rows do not fit, or name another video."""
    (_, kind, _) = schema_of(results).names
    for name, flatten in ((kind, rows_of), ("failures", failures_of)):
        rows = flatten(results)
        owner = pc.list_parent_indices(results.column(name).combine_chunks())
        expected = results.column("video_id").take(owner)
        if not pc.all(pc.equal(rows.column("video_id"), expected)).as_py() and rows.num_rows:
            raise ValueError("a row carries the id of another video")


def _unwritable(piece: pa.Table, error: Exception) -> pa.Table:
    (result,) = piece.to_pylist()
    (_, kind, _) = schema_of(piece).names
    rows = [*result[kind], *result["failures"]]

    def first(name: str, default: Any) -> Any:
        return next((row[name] for row in rows if row.get(name) is not None), default)

    failure = FailureRow(
        video_id=result["video_id"],
        uri=first("uri", ""),
        stage=WriteError.stage,
        error=WriteError.__name__,
        message=f"its rows do not fit the tables: {error}",
        cause=WriteError.cause.value,
        transient=False,
        attempts=first("attempts", 1),
        metadata=first("metadata", None),
        source_version=first("source_version", None),
        segment_start_sec=first("segment_start_sec", None),
        segment_end_sec=first("segment_end_sec", None),
    )
    told = {"video_id": result["video_id"], kind: [], "failures": [asdict(failure)]}
    return pa.Table.from_pylist([told], schema=schema_of(piece))


def _rows_per_video(results: pa.Table) -> npt.NDArray[np.int64]:
    total = np.zeros(results.num_rows, dtype=np.int64)
    for name in schema_of(results).names[1:]:
        total += pc.list_value_length(results.column(name)).to_numpy()
    return total
