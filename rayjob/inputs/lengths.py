"""An even selection of videos by their length, after LongCaption-10K."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import math
from collections.abc import Iterable, Iterator

from rayjob.inputs.manifests import Input
from schemas.errors import SourceError
from schemas.sources import LengthsConfig


def evenly(inputs: Iterable[Input], lengths: LengthsConfig) -> Iterator[Input]:
    """As many inputs of each range of lengths, in the order in which they were listed.

    Which ones is drawn by seed and id: the same list gives the same selection in any order, and a
    longer list keeps most of it. The list is read once, and what is selected is held in memory.

    Raises:
        SourceError: an input does not tell its length, or a range has too few.
    """
    ranges = [*itertools.pairwise(lengths.edges_sec)]
    share, rest = divmod(lengths.count, len(ranges))
    wanted = [share + (index < rest) for index in range(len(ranges))]
    kept: list[list[tuple[int, int, Input]]] = [[] for _ in ranges]
    taken: set[str] = set()
    for place, each in enumerate(inputs):
        index = _range(_length(each, lengths.column), lengths.edges_sec)
        if index is None or not wanted[index] or each.video_id in taken:
            continue
        # The heap's first is the one to go.
        entry = (-_draw(each.video_id, lengths.seed), -place, each)
        taken.add(each.video_id)
        if len(kept[index]) < wanted[index]:
            heapq.heappush(kept[index], entry)
        else:
            taken.discard(heapq.heappushpop(kept[index], entry)[2].video_id)
    for (low, high), found, count in zip(ranges, kept, wanted, strict=True):
        if len(found) < count:
            raise SourceError(
                f"source.lengths: {count} videos of {low:g} to {high:g} s are wanted, and "
                f"{len(found)} are listed"
            )
    chosen = [(-place, each) for found in kept for _, place, each in found]
    yield from (each for _, each in sorted(chosen, key=lambda entry: entry[0]))


def _length(given: Input, column: str) -> float:
    metadata = json.loads(given.metadata) if given.metadata else {}
    try:
        length = float(metadata[column])
    except (KeyError, TypeError, ValueError):
        length = math.nan
    if not math.isfinite(length):
        raise SourceError(
            f"source.lengths: {given.video_id} has no length in seconds in the column {column!r} "
            "of a manifest"
        )
    return length


def _range(length: float, edges: tuple[float, ...]) -> int | None:
    """A range holds its lower edge, and the last one both."""
    if not edges[0] <= length <= edges[-1]:
        return None
    return min(sum(edge <= length for edge in edges), len(edges) - 1) - 1


def _draw(video_id: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{video_id}".encode()).digest()[:8])
