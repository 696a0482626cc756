"""The structured caption of SkyCaptioner-V1: one model for decoding, checking and storing.

The same pydantic model guides the engine's decoding by its JSON schema, validates its answers,
types the nested column ``structured_fields`` (:func:`arrow_type`) and documents itself
(``docs/structured.md``). Fields and closed sets follow Skywork/SkyCaptioner-V1; the order of the
fields is the order in which the model was trained to write them.
"""

from __future__ import annotations

from datetime import datetime
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

ShotType = Literal["long_shot", "full_shot", "medium_shot", "close_up", "extreme_close_up", "other"]
ShotAngle = Literal["eye_level", "high_angle", "low_angle", "other"]
ShotPosition = Literal[
    "front_view",
    "back_view",
    "side_view",
    "over_the_shoulder",
    "overhead_view",
    "point_of_view",
    "aerial_view",
    "overlooking_view",
    "other",
]

MAX_SUBJECTS = 20
"""More subjects than the published captions ever name: a list that grows beyond it is a model
that repeats itself, and guided decoding ends it there."""


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SubjectTypes(_Fields):
    """What kind of thing a subject is; open vocabulary."""

    type: str = Field(description="such as Human, Animal, Plant, Scenery, Accessory")
    sub_type: str = Field(description="such as Woman, Dog, Tree, Hat")


class Subject(_Fields):
    """One person, animal or thing that the video shows."""

    TYPES: SubjectTypes
    appearance: str = Field(description="what it looks like")
    action: str = Field(description="what it does")
    expression: str = Field(description="of a face or body; empty for things")
    position: str = Field(description="where in the picture, or relative to others")
    is_main_subject: bool = Field(description="whether the video is about it")


class StructuredCaption(_Fields):
    """A video in fields."""

    subjects: list[Subject] = Field(max_length=MAX_SUBJECTS)
    shot_type: ShotType = Field(description="how near the camera is")
    shot_angle: ShotAngle = Field(description="whether it looks up or down")
    shot_position: ShotPosition = Field(description="from which side it looks")
    camera_motion: str = Field(description="in free text, such as 'the camera pans left'")
    environment: str = Field(description="the place, in free text")
    lighting: str = Field(description="in free text")


_ARROW_TYPES = {
    str: pa.string(),
    int: pa.int32(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
}


def arrow_type(annotation: Any) -> pa.DataType:
    """The Arrow type of a column with values of a type annotation, or of a pydantic model.

    Raises:
        KeyError: for an annotation that the tables have no type for.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return pa.string()
    if origin in (Union, UnionType):
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return arrow_type(inner)
    if origin is list:
        return pa.list_(arrow_type(arguments[0]))
    if issubclass(annotation, BaseModel):
        fields = annotation.model_fields.items()
        return pa.struct([pa.field(name, arrow_type(info.annotation)) for name, info in fields])
    return _ARROW_TYPES[annotation]


ARROW_TYPE = arrow_type(StructuredCaption)
"""Type of the column ``structured_fields``."""
