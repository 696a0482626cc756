"""What a split made of videos: their pieces in a row, kept or not and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rayjob.output.commits import shards
from rayjob.output.layout import partition_keys
from rayjob.reporting.reading import batches
from rayjob.reporting.runs import Run
from rayjob.reporting.sampling import Smallest

_COLUMNS = ["video_id", "index", "start_sec", "end_sec", "kept", "reason"]


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """The segments of a run.

    Attributes:
        kept, rejected: how many.
        reasons: of the rejected ones, numbers and names left out, the most frequent first.
        videos: some of the videos with their segments in order.
    """

    kept: int
    rejected: int
    reasons: list[tuple[str, int]]
    videos: list[tuple[str, list[Piece]]]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A segment to draw, in seconds."""

    begin: float
    end: float
    css: str
    title: str


def pieces_of(run: Run, *, sample: int, seed: int) -> Pieces | None:
    """What there is of a run; None where it is not a split. Raises as
    :func:`rayjob.reporting.reading.batches`.
    """
    chosen, kept, reasons = Smallest[None](sample, seed), 0, Counter[str]()
    for row in _rows(run):
        chosen.offer({row["video_id"]: None})
        kept += row["kept"]
        if not row["kept"]:
            reasons[_kind(row["reason"])] += 1
    if not kept and not reasons:
        return None
    videos: dict[str, list[dict[str, Any]]] = {video_id: [] for video_id in chosen.items()}
    for row in _rows(run):
        if row["video_id"] in videos:
            videos[row["video_id"]].append(row)
    return Pieces(
        kept=kept,
        rejected=reasons.total(),
        reasons=reasons.most_common(),
        videos=[
            (video_id, [_piece(row) for row in sorted(rows, key=lambda row: row["index"])])
            for video_id, rows in sorted(videos.items())
        ],
    )


def _rows(run: Run) -> Iterator[dict[str, Any]]:
    for entry in shards(run.store, "segments"):
        if partition_keys(entry.path).get("run_id") == run.run_id:
            for batch in batches(run.store, entry, _COLUMNS):
                yield from batch.to_pylist()


def _kind(reason: str) -> str:
    """``still 0.97 is above 0.9`` as ``still is above 0.9``."""
    words = []
    for one in reason.split("; "):
        if one.startswith("shows what "):
            words.append("shows what another video shows")
        elif " s are shorter than " in one:
            words.append(one.partition(" s are ")[2])
        else:
            name, _, rest = one.partition(" ")
            words.append(f"{name} {rest.partition(' ')[2]}")
    return "; ".join(words)


def _piece(row: dict[str, Any]) -> Piece:
    span = f"{row['start_sec']:.2f} to {row['end_sec']:.2f} s"
    return Piece(
        begin=row["start_sec"],
        end=row["end_sec"],
        css="ok" if row["kept"] else "failed",
        title=f"{span}: {'kept' if row['kept'] else row['reason']}",
    )
