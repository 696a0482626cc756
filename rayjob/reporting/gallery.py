"""The gallery: sampled videos, each with all its captions and what it looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rayjob.reporting.pictures import Pictures, Watching, take_pictures
from rayjob.reporting.reading import Part, rows_of
from rayjob.reporting.runs import Run
from rayjob.reporting.sampling import ranks
from rayjob.reporting.statistics import FLAGGED, Statistics
from rayjob.reporting.structured import ChipGroup, chip_groups

MAX_CAPTIONS = 120
"""Captions shown of one video and run."""

MAX_CHARS = 12_000
"""Characters shown of one caption."""

_LEVELS = ("video", "clip", "frame")
_COLUMNS = (
    "video_id", "uri", "level", "index", "start_sec", "end_sec", "caption", "structured",
    "caption_status", "status_reason", "attempts", "output_tokens", "duration_sec", "fps",
    "width", "height", "has_audio", "model", "metadata",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A caption as the page shows it.

    Attributes:
        run: number of its run on the page.
        recipe: label of how it was made.
        source: the run it comes from, where that is not the run itself.
        cut: characters left out at the end.
    """

    run: int
    recipe: str
    source: str
    level: str
    index: int
    start_sec: float | None
    end_sec: float | None
    text: str
    cut: int
    chips: tuple[ChipGroup, ...]
    status: str
    reason: str
    attempts: int
    output_tokens: int | None
    model: str


@dataclass(frozen=True, kw_only=True)
class Video:
    """A sampled video.

    Attributes:
        captions: by run, in the order of the page; () for a run that has none of it.
        left_out: captions that are not shown.
        flagged: chosen because of a caption's status, not by chance.
        pictures: None where none were asked for.
    """

    video_id: str
    uri: str
    duration_sec: float | None
    fps: float | None
    width: int | None
    height: int | None
    has_audio: bool | None
    metadata: str
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
    shared: dict[str, int] = {}
    for each in runs:
        for video_id in each.statistics.sample:
            shared[video_id] = shared.get(video_id, 0) + 1
    ids = [*shared]
    rank = dict(zip(ids, ranks(ids, seed).tolist(), strict=True))
    chance = sorted(ids, key=lambda video_id: (-shared[video_id], rank[video_id]))[:sample]
    flagged = {
        video_id
        for each in runs
        for status in FLAGGED
        for video_id in each.statistics.flagged.get(status, ())
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
    rows: dict[str, list[list[tuple[Caption, dict[str, Any]]]]] = {
        video_id: [[] for _ in runs] for video_id in ids
    }
    for number, each in enumerate(runs):
        for part in (*each.parts, *each.related):
            for row in rows_of(each.run.store, part, _COLUMNS, ids):
                caption = _caption(row, part, run=number, own=each.run.run_id)
                rows[row["video_id"]][number].append((caption, row))
    marked = set(flagged)
    videos = [
        _video(video_id, rows[video_id], flagged=video_id in marked)
        for video_id in ids
        if any(rows[video_id])
    ]
    return _with_pictures(runs, videos) if pictures else videos


def _caption(row: dict[str, Any], part: Part, *, run: int, own: str) -> Caption:
    text: str = row["caption"]
    return Caption(
        run=run,
        recipe=part.label,
        source="" if part.run_id == own else part.run_id,
        level=row["level"],
        index=row["index"],
        start_sec=row["start_sec"],
        end_sec=row["end_sec"],
        text=text[:MAX_CHARS],
        cut=max(0, len(text) - MAX_CHARS),
        chips=chip_groups(row["structured"]),
        status=row["caption_status"],
        reason=row["status_reason"] or "",
        attempts=row["attempts"],
        output_tokens=row["output_tokens"],
        model=row["model"],
    )


def _order(caption: Caption) -> tuple[Any, ...]:
    level = _LEVELS.index(caption.level) if caption.level in _LEVELS else len(_LEVELS)
    # Fused captions first: they are what the others were made for.
    return (not caption.recipe.startswith("fused: "), caption.recipe, level, caption.index)


def _video(
    video_id: str, by_run: Sequence[Sequence[tuple[Caption, dict[str, Any]]]], *, flagged: bool
) -> Video:
    captions = [sorted((caption for caption, _ in found), key=_order) for found in by_run]
    # Rows of a fusion may know less of the video than those that were made from it.
    facts = [row for found in by_run for _, row in found]

    def fact(name: str) -> Any:
        return next((row[name] for row in facts if row[name] is not None), None)

    return Video(
        video_id=video_id,
        uri=fact("uri") or "",
        duration_sec=fact("duration_sec"),
        fps=fact("fps"),
        width=fact("width"),
        height=fact("height"),
        has_audio=fact("has_audio"),
        metadata=(fact("metadata") or "")[:MAX_CHARS],
        captions=tuple(tuple(found[:MAX_CAPTIONS]) for found in captions),
        left_out=sum(max(0, len(found) - MAX_CAPTIONS) for found in captions),
        flagged=flagged,
    )


def _with_pictures(runs: Sequence[RunTables], videos: Sequence[Video]) -> list[Video]:
    """Each video as the first run that has it was given it."""
    first = {
        video.video_id: next(number for number, found in enumerate(video.captions) if found)
        for video in videos
    }
    taken: dict[str, Pictures] = {}
    for number, each in enumerate(runs):
        mine = [video for video in videos if first[video.video_id] == number]
        to_open = {video.video_id: (video.uri, video.duration_sec) for video in mine}
        taken |= take_pictures(to_open, each.watching, share_of=len(videos))
    return [replace(video, pictures=taken[video.video_id]) for video in videos]
