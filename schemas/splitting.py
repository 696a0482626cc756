"""Configuration of a split: where videos are cut, and which of the pieces are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator, model_validator

from schemas.config import INPUT, DecodeConfig, RunConfig, RunId
from schemas.settings import Flag, Settings, Unset
from schemas.sources import SourceConfig

SCORES = (
    "cut_score", "motion", "sharpness", "luminance", "black", "still", "text_area", "audio_rms",
    "speech_share",
)  # fmt: skip
"""Columns of ``segments`` that a filter may be about."""


class Range(Settings):
    """What a score has to be: a column of the table, or what captions of the segments say. A score
    that is not known passes.
    """

    min: float | None = None
    """Least."""
    max: float | None = None
    """Most."""
    caption: Annotated[RunId | None, Unset("the column of the filter's name")] = None
    """Name of a captioning of this split's segments, in the same output, that gives the score."""
    field: Annotated[str | None, Unset("the caption is a number")] = None
    """Of captions that are JSON objects, the field that holds the score."""

    def refusal(self, name: str, score: float | None) -> str | None:
        """Why a score does not pass; None where it does."""
        if score is None:
            return None
        if self.min is not None and score < self.min:
            return f"{name} {score:.3g} is below {self.min:g}"
        if self.max is not None and score > self.max:
            return f"{name} {score:.3g} is above {self.max:g}"
        return None


class CutConfig(Settings):
    """How cuts are found: by PySceneDetect's AdaptiveDetector on the frames around each change, or
    by TransNetV2 on every frame.
    """

    detector: Annotated[Literal["transnetv2"] | None, Unset("PySceneDetect's")] = None
    """TransNetV2 is a network that finds dissolves as well; the extra split-transnet. change, ratio
    and content are not for it."""
    fps: PositiveFloat = 5.0
    """Frames per second that are looked at where nothing changes, and that scores are made of."""
    change: PositiveFloat = 6.0
    """Mean difference of two of them, of 255, above which every frame between them is looked at."""
    ratio: PositiveFloat = 3.0
    """A cut differs so many times more from the frame before than the frames around it do."""
    content: PositiveFloat = 15.0
    """Least difference at a cut, in hue, saturation and brightness, of 255."""
    flash_sec: PositiveFloat = 0.5
    """A picture that is back after so long, in seconds, was not cut away from: a flash."""
    fades: bool = True
    """A fade through black from one scene to another is a cut, in the middle of the black."""


class SplitConfig(RunConfig):
    """Everything a run of ``rayjob split`` needs."""

    input: Annotated[tuple[str, ...], INPUT] = Field(min_length=1)
    """A file, folder, glob, s3:// prefix or manifest (.csv .tsv .json .jsonl .parquet .txt)."""
    name: Annotated[RunId, Flag("--name")] = "split"
    """Name of the split, for several side by side: the partition that its tables have."""
    min_sec: Annotated[PositiveFloat, Flag("--min-sec")] = 1.0
    """Shortest segment that is kept, in seconds."""
    max_sec: Annotated[PositiveFloat, Flag("--max-sec")] = 60.0
    """Longest segment, in seconds; what is longer between two cuts is divided evenly."""
    cuts: CutConfig = CutConfig()
    filters: dict[str, Range] = Field(default_factory=dict)
    """What scores have to be, such as {black: {max: 0.5}, motion: {min: 0.005}}. Other names are
    those of filters on captions, such as {quality: {caption: quality, field: score, min: 3}}."""
    duplicate_bits: int | None = Field(default=12, ge=0, le=20)
    """Bits of 64 in which each of three frames of a segment may differ from those of another
    video's segment that it is a duplicate of; null does not look for duplicates."""
    gpus_per_actor: NonNegativeFloat = 0.0
    """Share of a GPU that each actor takes, for TransNetV2."""
    decode: DecodeConfig = DecodeConfig()
    source: SourceConfig = SourceConfig()

    @field_validator("filters")
    @classmethod
    def _are_scores(cls, value: dict[str, Range]) -> dict[str, Range]:
        for name, wanted in value.items():
            if (name in SCORES) != (wanted.caption is None):
                raise ValueError(
                    f"{name} is a score of its own: name a filter on captions otherwise"
                    if name in SCORES
                    else f"no score is named {name}; there are {', '.join(SCORES)}, and with "
                    "caption: NAME what captions say"
                )
            if wanted.field is not None and wanted.caption is None:
                raise ValueError(f"{name}: field goes with caption")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> SplitConfig:
        if self.min_sec > self.max_sec / 2:
            raise ValueError("max_sec is at least twice min_sec")
        return self
