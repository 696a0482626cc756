"""The gallery: sampled videos, each with all its captions and what it looks like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from rayjob.reporting.pictures import Pictures, Watching, take_pictures
from rayjob.reporting.reading import Part, rows_of
from rayjob.reporting.runs import Run
from rayjob.reporting.sampling import ranks
from rayjob.reporting.statistics import Statistics

MAX_CAPTIONS = 120
"""Captions shown of one video and run."""

MAX_CHARS = 12_000
"""Characters shown of one caption, or of a video's metadata."""

_LEVELS = ("video", "clip", "frame")
_COLUMNS = (
    "video_id", "uri", "level", "index", "start_sec", "end_sec", "caption", "structured",
    "caption_status", "status_reason", "attempts", "duration_sec", "fps", "width", "height",
    "has_audio", "metadata",
)  # fmt: skip
_FACTS = ("uri", "duration_sec", "fps", "width", "height", "has_audio", "metadata")
"""Columns that tell of the video."""


class Caption(NamedTuple):
    """A caption of the page.

    Attributes:
        recipe: label of how it was made.
        source: the run it comes from, where that is not the run itself.
        row: its row of the table, the columns _COLUMNS.
    """

    recipe: str
    source: str
    row: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Video:
    """A sampled video.

    Attributes:
        facts: the columns _FACTS, None where no row knows.
        captions: by run, in the order of the page; () for a run that has none of it.
        left_out: captions that are not shown.
        flagged: chosen because of a caption's status, not by chance.
        pictures: None where none were asked for.
    """

    video_id: str
    facts: dict[str, Any]
    captions: tuple[tuple[Caption, ...], ...]
    left_out: int
    flagged: bool
    pictures: Pictures | None = None


@dataclass(frozen=True, kw_only=True)
class RunTables:
    """A run with what its tables say.

    Attributes:
        parts: its partitions of captions and fused captions.
        related: partitions of other runs of the same output whose rows belong beside these:
            fused captions of its videos, or the captions that a fusion was made from.
        watching: how its videos were looked at.
    """

    run: Run
    statistics: Statistics
    parts: Sequence[Part]
    related: Sequence[Part]
    watching: Watching


def choose(runs: Sequence[RunTables], *, sample: int, seed: int) -> tuple[list[str], list[str]]:
    """Ids of the videos to show: by chance, and further ones for their status.

    In a comparison, those come first that several runs sampled.
    """
    shared = Counter(video_id for each in runs for video_id in each.statistics.sample.items())
    rank = dict(zip(shared, ranks(shared, seed).tolist(), strict=True))
    chance = sorted(shared, key=lambda video_id: (-shared[video_id], rank[video_id]))[:sample]
    flagged = {
        video_id
        for each in runs
        for smallest in each.statistics.flagged.values()
        for video_id in smallest.items()
    }
    return chance, sorted(flagged - set(chance))


def make_gallery(
    runs: Sequence[RunTables], *, sample: int, seed: int, pictures: bool
) -> list[Video]:
    """The videos to show, those chosen by chance first.

    Raises:
        SourceError: a table cannot be read.
    """
    chance, flagged = choose(runs, sample=sample, seed=seed)
    ids = [*chance, *flagged]
    found: dict[str, list[list[Caption]]] = {video_id: [[] for _ in runs] for video_id in ids}
    for number, each in enumerate(runs):
        for part in (*each.parts, *each.related):
            source = "" if part.run_id == each.run.run_id else part.run_id
            for row in rows_of(each.run.store, part, _COLUMNS, ids):
                found[row["video_id"]][number].append(Caption(part.label, source, row))
    marked = set(flagged)
    videos = [
        _video(video_id, by_run, flagged=video_id in marked)
        for video_id, by_run in found.items()
        if any(by_run)
    ]
    return _with_pictures(runs, videos) if pictures else videos


def _video(video_id: str, by_run: Sequence[Sequence[Caption]], *, flagged: bool) -> Video:
    # Rows of a fusion may know less of the video than those that were made from it.
    known: dict[str, Any] = dict.fromkeys(_FACTS)
    for row in (caption.row for captions in by_run for caption in captions):
        known |= {name: row[name] for name in _FACTS if known[name] is None}
    return Video(
        video_id=video_id,
        facts=known,
        captions=tuple(tuple(sorted(captions, key=_order)[:MAX_CAPTIONS]) for captions in by_run),
        left_out=sum(max(0, len(captions) - MAX_CAPTIONS) for captions in by_run),
        flagged=flagged,
    )


def _order(caption: Caption) -> tuple[Any, ...]:
    """Fused captions first: they are what the others were made for."""
    level = caption.row["level"]
    rank = _LEVELS.index(level) if level in _LEVELS else len(_LEVELS)
    return (not caption.recipe.startswith("fused: "), caption.recipe, rank, caption.row["index"])


def _with_pictures(runs: Sequence[RunTables], videos: Sequence[Video]) -> list[Video]:
    """Each video as the first run that has it was given it."""
    first = {
        video.video_id: next(number for number, found in enumerate(video.captions) if found)
        for video in videos
    }
    taken: dict[str, Pictures] = {}
    for number, each in enumerate(runs):
        to_open = {
            video.video_id: (video.facts["uri"] or "", video.facts["duration_sec"])
            for video in videos
            if first[video.video_id] == number
        }
        taken |= take_pictures(to_open, each.watching, share_of=len(videos))
    return [replace(video, pictures=taken[video.video_id]) for video in videos]
