"""What is judged: captions from our tables, from published scripts, or from any table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rayjob.evaluation.config import Selection
from rayjob.evaluation.scores import Method, Score
from rayjob.evaluation.tablefiles import Row, by_video, is_table, pick_column, read_rows, seconds
from rayjob.output.commits import shards
from rayjob.output.layout import partition_keys
from rayjob.output.store import TableStore
from schemas.errors import SourceError
from schemas.media import StorageOptions

_TEXT_COLUMNS = (
    "caption", "text", "structural_caption", "t2v_fusion_caption", "i2v_fusion_caption",
    "prediction", "structured",
)  # fmt: skip
"""``structural_caption`` and the fusion columns are SkyCaptioner's, ``caption`` is UGC's."""

_STRUCTURED_COLUMNS = ("structured", "structural_caption")
_COLUMNS = (
    "video_id", "level", "index", "caption", "structured", "caption_status", "duration_sec",
    "model", "details", "sample",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One caption to judge.

    Attributes:
        text: the caption as it came.
        structured: the answer as JSON, None unless there is one.
        recipe: the recipe or fusion task, "" where the input does not say.
        model: the model that wrote it, "" where the input does not say.
        details: JSON object of what else its recipe told, None without any.
        sample: which of several answers, None where there is one.
        status: "ok", "truncated" or "invalid"; None where the input does not say.
        caption_hash: first 16 hex digits of the SHA-256 of ``text``.
    """

    video_id: str
    text: str
    structured: str | None = None
    recipe: str = ""
    model: str = ""
    run_id: str = ""
    level: str = "video"
    index: int = 0
    details: str | None = None
    sample: int | None = None
    status: str | None = None
    duration_sec: float | None = None
    caption_hash: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.text.encode("utf-8", "replace")).hexdigest()
        object.__setattr__(self, "caption_hash", digest[:16])

    @property
    def structure(self) -> str:
        """The text that should hold the structure, where the caption is structured."""
        return self.text if self.structured is None else self.structured

    @property
    def is_structured(self) -> bool:
        """Whether the caption is, or should be, a structure."""
        return self.structured is not None or self.text.lstrip().startswith("{")

    def score(
        self,
        dimension: str,
        value: float | None,
        *,
        part: str = "",
        reason: str | None = None,
        method: Method = "formula",
    ) -> Score:
        """A score of this caption; ``part`` is the :class:`Score`'s ``item``."""
        return Score(
            video_id=self.video_id,
            recipe=self.recipe,
            model=self.model,
            caption_hash=self.caption_hash,
            duration_sec=self.duration_sec,
            item=part,
            dimension=dimension,
            score=value,
            reason=reason,
            method=method,
        )


def load_items(
    where: str, selection: Selection, storage: StorageOptions, *, named: str | None = None
) -> list[Item]:
    """The captions of an input, all levels, sorted by video.

    Args:
        named: only those of the run or the recipe of this name.
        where: an output of ours, a folder of Parquet files, or a .csv, .jsonl or .parquet
            file; local or on S3.

    Raises:
        SourceError: it cannot be read, or nothing in it is selected.
    """
    if is_table(where):
        items = items_of(read_rows(where, storage), selection, where, {})
    else:
        items = list(_folder_items(where, selection, storage))
    kept = [
        item
        for item in items
        if selection.recipe in (None, item.recipe)
        and selection.run_id in (None, item.run_id)
        and selection.sample in (None, item.sample)
        and named in (None, item.run_id, item.recipe)
    ]
    if not kept:
        there = sorted({f"recipe {item.recipe}, run {item.run_id}" for item in items})
        raise SourceError(
            f"no caption of {where} is selected; it holds {'; '.join(there) or 'no caption at all'}"
        )
    kept.sort(key=lambda item: (item.video_id, item.recipe, item.level, item.index))
    if selection.limit is not None:
        ids = sorted({item.video_id for item in kept})[: selection.limit]
        last = ids[-1]
        kept = [item for item in kept if item.video_id <= last]
    return kept


def one_per_video(items: Sequence[Item], selection: Selection) -> list[Item]:
    """The items of the selected level, of which each video has one at most.

    Raises:
        SourceError: there are no such captions, or a video has several.
    """
    chosen = [item for item in items if item.level == selection.level]
    if not chosen:
        there = ", ".join(sorted({item.level for item in items}))
        raise SourceError(f"no captions of level {selection.level}; pass --level ({there})")
    ids = {item.video_id for item in chosen}
    if len(ids) < len(chosen):
        kinds = sorted({f"--recipe {item.recipe} --run-id {item.run_id}" for item in chosen})
        samples = {item.sample for item in chosen} - {None}
        kinds += [f"--sample {sample}" for sample in sorted(filter(None, samples))]
        raise SourceError(
            f"{len(chosen)} captions for {len(ids)} videos, and a video can be judged once. "
            f"Choose among: {'; '.join(kinds)}"
        )
    return chosen


def _folder_items(where: str, selection: Selection, storage: StorageOptions) -> Iterator[Item]:
    store = TableStore(where, storage)
    entries = [entry for table in ("captions", "fused") for entry in shards(store, table)] or list(
        store.list("", suffix=".parquet")
    )
    if not entries:
        raise SourceError(
            f"{where} holds no captions: pass an output of rayjob caption, a folder of Parquet "
            "files, or a .csv, .jsonl or .parquet file"
        )
    for entry in entries:
        with store.open_parquet(entry.path, size=entry.size) as file:
            names = set(file.schema_arrow.names)
            ours = {"video_id", "caption"} <= names and selection.text_column is None
            columns = [name for name in _COLUMNS if name in names] if ours else None
            rows: list[Row] = file.read(columns=columns).to_pylist()
        yield from items_of(rows, selection, store.url_of(entry.path), partition_keys(entry.path))


def items_of(
    rows: Sequence[Row], selection: Selection, where: str, keys: Mapping[str, str]
) -> list[Item]:
    """The captions of a table's rows; ``keys`` are those of its Hive partition.

    Raises:
        SourceError: a column is missing, or a row has no id.
    """
    if not rows:
        return []
    columns = list(rows[0])
    text_column = pick_column(
        columns, _TEXT_COLUMNS, chosen=selection.text_column, what="the caption", where=where
    )
    structured_column = next((name for name in _STRUCTURED_COLUMNS if name in columns), None)
    items = []
    for _, video_id, row in by_video(rows, where, id_column=selection.id_column):
        structured = row.get(structured_column) if structured_column is not None else None
        items.append(
            Item(
                video_id=video_id,
                text=_text(row.get(text_column)),
                structured=None if structured is None else _text(structured),
                recipe=keys.get("recipe") or keys.get("task") or _text(row.get("recipe")),
                run_id=keys.get("run_id") or _text(row.get("run_id")),
                model=_text(row.get("model")),
                level=_text(row.get("level")) or "video",
                index=int(row.get("index") or 0),
                details=row.get("details"),
                sample=row.get("sample"),
                status=row.get("caption_status"),
                duration_sec=seconds(row),
            )
        )
    return items


def _text(value: Any) -> str:
    return "" if value is None else str(value)
