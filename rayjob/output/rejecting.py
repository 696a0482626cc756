"""Segments that turn out not to be worth keeping once all of a split is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from schemas.tables import SPLITS


def rejecting(
    results: Iterable[pa.Table], reason: Callable[[dict[str, Any]], str | None]
) -> Iterator[pa.Table]:
    """The same tables of :data:`schemas.tables.SPLITS`, in which more segments are not kept.

    Args:
        reason: why a segment is not kept, beside what was wrong with it before; None for nothing.
            It may change the segment's columns where it gives a reason.
    """
    for table in results:
        rows, changed = table.to_pylist(), False
        for segment in (segment for row in rows for segment in row["segments"]):
            why = reason(segment)
            if why is not None:
                reasons = "; ".join(filter(None, [segment["reason"], why]))
                segment |= {"kept": False, "reason": reasons}
                changed = True
        yield pa.Table.from_pylist(rows, schema=SPLITS) if changed else table
