"""A data set folder that ``datasets.load_dataset`` opens: Parquet files, and a card that names
those which count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from rayjob.exporting.destination import Folder
from rayjob.exporting.selection import ROWS

_FILE_BYTES = 256 << 20
"""Of a file's rows in memory; compressed it is a few times smaller."""


def write(rows: Iterable[pa.RecordBatch], folder: Folder, card: Callable[[str], str]) -> None:
    """Write the rows and publish them.

    Args:
        rows: batches of :data:`rayjob.exporting.selection.ROWS`.
        card: makes the text of the card, given the pattern of the files; called after the last
            row.

    Raises:
        UsageError, OutputUnavailableError: as
            :meth:`rayjob.output.store.TableStore.write_bytes`.
    """
    for number, table in enumerate(_tables(rows)):
        folder.store.write_table(f"{folder.generation}/train-{number:05d}.parquet", table)
    text = card(f"{folder.generation}/*.parquet")
    folder.publish(lambda: folder.store.write_bytes("README.md", text.encode()))


def _tables(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in rows:
        waiting.append(batch)
        size += batch.nbytes
        if size > _FILE_BYTES:
            yield pa.Table.from_batches(waiting, schema=ROWS)
            waiting, size = [], 0
    if size:
        yield pa.Table.from_batches(waiting, schema=ROWS)
