"""What a run has done so far, from the tables that arrive to the summary that it ends with."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from schemas.tables import failures_of, rows_of


class Counts(BaseModel):
    """Totals over the videos whose results have arrived."""

    # A file of a later version may tell more.
    model_config = ConfigDict(frozen=True, extra="ignore")

    videos_captioned: int = Field(default=0, ge=0, description="videos without a failure")
    videos_failed: int = Field(
        default=0, ge=0, description="videos with a failure, also if a part of them has captions"
    )
    captions: int = Field(default=0, ge=0, description="rows of captions")
    segments: int = Field(default=0, ge=0, description="rows of segments")
    segments_kept: int = Field(default=0, ge=0, description="of these, those that are kept")
    prompt_tokens: int = Field(default=0, ge=0, description="tokens read for them")
    output_tokens: int = Field(default=0, ge=0, description="tokens written for them")
    video_sec: float = Field(
        default=0.0, ge=0, description="length of the videos with captions, in seconds"
    )
    failures_by_error: dict[str, int] = Field(
        default_factory=dict, description="failure rows by class of error, the most frequent first"
    )

    @property
    def videos(self) -> int:
        """Videos that are through, one way or the other."""
        return self.videos_captioned + self.videos_failed

    @classmethod
    def of(cls, results: pa.Table) -> Counts:
        """The totals of a table of :data:`schemas.tables.RESULTS` (or ``SPLITS``)."""
        rows = rows_of(results)
        has_failed = pc.list_value_length(results.column("failures")).to_numpy() > 0
        lengths = rows.group_by("video_id").aggregate([("duration_sec", "max")])
        return cls(
            videos_captioned=int((~has_failed).sum()),
            videos_failed=int(has_failed.sum()),
            **_rows(rows),
            video_sec=pc.sum(lengths.column("duration_sec_max")).as_py() or 0.0,
            failures_by_error=Counter(failures_of(results).column("error").to_pylist()),
        )

    def __add__(self, other: Counts) -> Counts:
        errors = Counter(self.failures_by_error) + Counter(other.failures_by_error)
        sums = {
            name: getattr(self, name) + getattr(other, name)
            for name in Counts.model_fields
            if name != "failures_by_error"
        }
        return Counts(**sums, failures_by_error=dict(errors.most_common()))


def _rows(rows: pa.Table) -> dict[str, int]:
    def total(name: str) -> int:
        return int(pc.sum(rows.column(name)).as_py() or 0)

    if "kept" in rows.schema.names:
        return {"segments": rows.num_rows, "segments_kept": total("kept")}
    tokens = ("prompt_tokens", "output_tokens")
    return {"captions": rows.num_rows} | {name: total(name) for name in tokens}


def counted(number: float, noun: str) -> str:
    """A number of things: "1 engine", "2 engines", "0.5 GPU"."""
    return f"{number:.12g} {noun}{'' if 0 < number <= 1 else 's'}"


def clock(seconds: float) -> str:
    """A span of time: 0:07, 12:30, 3:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def pace(per_sec: float) -> str:
    """A rate for a person, in a unit that makes it one or more: "3.2 a second", "12 a minute",
    "5 an hour", or less; "" where nothing was done.
    """
    units = {"a second": per_sec, "a minute": 60 * per_sec, "an hour": 3600 * per_sec}
    for unit, rate in units.items():
        if rate >= 1:
            return f"{rate:.1f} {unit}" if rate < 9.95 else f"{rate:.0f} {unit}"
    return "less than one an hour" if per_sec > 0 else ""
