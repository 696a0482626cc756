"""Tar shards of clips and captions, as the package ``webdataset`` reads them.

A sample is a caption: ``KEY.mp4`` and ``KEY.json``, one after the other. ``index.json`` names the
shards that count, and how many captions were left out because their video could not be cut;
``left_out.jsonl`` beside the shards has a row for each of these.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import IO, Annotated, Any

import pyarrow as pa
from pydantic import Field, PositiveInt

from actors.storage.segments import fragment_of
from actors.storage.uris import split_segment
from rayjob.exporting.cutting import Cutter
from rayjob.exporting.destination import Folder
from schemas.errors import RayjobError, SourceError
from schemas.media import DecodeLimits, StorageOptions
from schemas.settings import Flag, Settings, Unset

_BLOCK = tarfile.BLOCKSIZE
_MEGABYTE = 1_000_000

_TOLD = (
    "video_id", "uri", "level", "index", "sample", "start_sec", "end_sec", "caption",
    "caption_status", "model", "model_revision", "prompt_hash", "run_id",
)  # fmt: skip
_PARSED = ("structured", "metadata")
"""Columns that hold JSON."""


class WebDatasetOptions(Settings):
    """Clips and their shards; for the format webdataset alone."""

    shard_mb: Annotated[PositiveInt, Flag("--shard-mb")] = 1000
    """Size of a shard at most, in 10^6 bytes; a larger clip has one of its own."""
    shard_clips: Annotated[PositiveInt, Flag("--shard-clips")] = 10_000
    """Clips in a shard at most."""
    clip_mb: Annotated[int, Flag("--clip-mb")] = Field(default=256, gt=0, le=1000)
    """Size of a clip at most, in 10^6 bytes; a larger one is left out."""
    workers: Annotated[PositiveInt | None, Flag("--workers"), Unset("one for each core")] = None
    """Clips cut at a time, each by a process of its own; as many that are done wait in memory."""
    limits: DecodeLimits = DecodeLimits()


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """A caption with its clip, as they stand in a shard."""

    key: str
    clip: bytes
    told: bytes

    @property
    def size(self) -> int:
        """Bytes in the shard."""
        padded = sum(-(-len(data) // _BLOCK) for data in (self.clip, self.told))
        return (padded + 2) * _BLOCK


class _LeftOut:
    """The captions whose video cannot be cut.

    Attributes:
        reasons: how many, by the class of the error.
        rows: a line of JSON for each.
        example: what the first error said.
    """

    def __init__(self, rows: IO[str]) -> None:
        self.reasons: Counter[str] = Counter()
        self.rows = rows
        self.example = ""

    def add(self, row: Mapping[str, Any], error: RayjobError) -> None:
        reason = type(error).__name__
        self.reasons[reason] += 1
        self.example = self.example or str(error)
        told = {name: row[name] for name in _TOLD[:7]} | {"error": reason, "message": str(error)}
        self.rows.write(json.dumps(told, ensure_ascii=False) + "\n")


def write(
    rows: Iterable[pa.RecordBatch],
    folder: Folder,
    options: WebDatasetOptions,
    storage: StorageOptions,
    *,
    name: str,
) -> Mapping[str, int]:
    """Cut a clip for each row, write the shards and publish them.

    Args:
        rows: batches of :data:`rayjob.exporting.selection.ROWS`.
        storage: how to reach the videos.
        name: of the captions.

    Returns:
        How many captions were left out, by the class of the error, the most frequent first.

    Raises:
        SourceError: all were.
        UsageError, OutputUnavailableError: as
            :meth:`rayjob.output.store.TableStore.write_bytes`.
    """
    store, shards = folder.store, list[dict[str, Any]]()
    workers = options.workers or os.cpu_count() or 1
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as lines,
        Cutter(options.limits, storage, workers, options.clip_mb * _MEGABYTE) as cutter,
    ):
        left_out = _LeftOut(lines)
        samples = _Ahead(_samples(rows, cutter, left_out, name))
        while samples.next is not None:
            path = f"{folder.generation}/{len(shards):06d}.tar"
            shards.append({"path": path, **_write_shard(folder, path, samples, options)})
        told = ", ".join(f"{count} {each}" for each, count in left_out.reasons.most_common())
        if not shards:
            raise SourceError(f"no clip could be cut ({told}), the first: {left_out.example}")
        index = {
            "name": name,
            "clips": sum(shard["clips"] for shard in shards),
            "left_out": dict(left_out.reasons.most_common()),
            "shards": shards,
        }
        if left_out.reasons:
            lines.seek(0)
            index["left_out_rows"] = f"{folder.generation}/left_out.jsonl"
            store.write_lines(f"{folder.generation}/left_out.jsonl", lines)
    text = json.dumps(index, ensure_ascii=False, indent=1).encode()
    folder.publish(lambda: store.write_bytes("index.json", text))
    return dict(left_out.reasons.most_common())


class _Ahead:
    """Samples one by one, with a look at the next.

    Attributes:
        next: None at the end.
    """

    def __init__(self, samples: Iterator[_Sample]) -> None:
        self._samples = samples
        self.next = next(samples, None)

    def take(self) -> _Sample:
        taken, self.next = self.next, next(self._samples, None)
        assert taken is not None
        return taken


def _write_shard(
    folder: Folder, path: str, samples: _Ahead, options: WebDatasetOptions
) -> dict[str, int]:
    """Write samples until a shard is full; return how many, and its bytes."""
    clips = size = 0

    def fill(file: IO[bytes]) -> None:
        nonlocal clips, size
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as shard:
            while samples.next is not None and clips < options.shard_clips:
                if clips and size + samples.next.size > options.shard_mb * _MEGABYTE:
                    break
                sample = samples.take()
                clips, size = clips + 1, size + sample.size
                for ending, data in (("mp4", sample.clip), ("json", sample.told)):
                    member = tarfile.TarInfo(f"{sample.key}.{ending}")
                    member.size = len(data)
                    shard.addfile(member, io.BytesIO(data))

    folder.store.write_file(path, fill)
    return {"clips": clips, "bytes": size}


def _samples(
    rows: Iterable[pa.RecordBatch], cutter: Cutter, left_out: _LeftOut, name: str
) -> Iterator[_Sample]:
    """The samples in order of the rows; keys are their numbers, as a key must not hold dots."""
    # The rows of a clip stand side by side: it is cut once.
    each = (row for batch in rows for row in batch.to_pylist())
    groups = ((address, list(group)) for address, group in groupby(each, _address))
    number = 0
    for group, clip in cutter.cut(groups):
        for row in group:
            if isinstance(clip, RayjobError):
                left_out.add(row, clip)
            else:
                told = json.dumps(_told(row, name), ensure_ascii=False).encode()
                yield _Sample(key=f"{number:09d}", clip=clip, told=told)
                number += 1


def _address(row: Mapping[str, Any]) -> str:
    """The span of the file that a caption is about."""
    if row["level"] == "video":
        return str(row["uri"])
    return split_segment(row["uri"])[0] + fragment_of(row["start_sec"], row["end_sec"])


def _told(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the JSON of a sample says."""
    parsed = {column: json.loads(row[column]) for column in _PARSED if row[column]}
    return {"recipe": name} | {column: row[column] for column in _TOLD} | parsed
