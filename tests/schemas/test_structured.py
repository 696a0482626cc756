"""The one model of a structured caption, in each of its uses."""

from __future__ import annotations

from typing import Any, Literal

import pyarrow as pa
import pytest

from schemas.structured import ARROW_TYPE, StructuredCaption, arrow_type
from schemas.tables import CAPTIONS
from tools.schema_table import PAGE, table, updated


def properties(name: str | None = None) -> list[str]:
    """Keys of an object of the JSON schema, in the order in which decoding is guided."""
    schema = StructuredCaption.model_json_schema()
    part = schema if name is None else schema["$defs"][name]
    assert part["required"] == list(part["properties"]), "every field is required"
    assert part["additionalProperties"] is False
    return list(part["properties"])


def test_decoding_follows_the_order_of_the_published_model() -> None:
    assert properties() == [
        "subjects",
        "shot_type",
        "shot_angle",
        "shot_position",
        "camera_motion",
        "environment",
        "lighting",
    ]
    assert properties("Subject") == [
        "TYPES",
        "appearance",
        "action",
        "expression",
        "position",
        "is_main_subject",
    ]
    assert properties("SubjectTypes") == ["type", "sub_type"]


def test_decoding_is_bounded() -> None:
    assert StructuredCaption.model_json_schema()["properties"]["subjects"]["maxItems"] == 20


def test_the_nested_column_has_the_fields_of_the_model() -> None:
    assert [field.name for field in ARROW_TYPE] == list(StructuredCaption.model_fields)
    subject = ARROW_TYPE.field("subjects").type.value_type
    assert subject.field("is_main_subject").type == pa.bool_()
    assert subject.field("TYPES").type == pa.struct(
        [pa.field("type", pa.string()), pa.field("sub_type", pa.string())]
    )
    assert CAPTIONS.field("structured_fields").type == ARROW_TYPE


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, pa.int32()),
        (float | None, pa.float64()),
        (list[bool], pa.list_(pa.bool_())),
        (Literal["a", "b"], pa.string()),
    ],
)
def test_arrow_types(annotation: Any, expected: pa.DataType) -> None:
    assert arrow_type(annotation) == expected


def test_a_type_that_tables_do_not_hold() -> None:
    with pytest.raises(KeyError, match="complex"):
        arrow_type(complex)


def test_the_page_shows_the_model_as_it_is() -> None:
    page = PAGE.read_text("utf-8")
    assert table() in page, "run python tools/schema_table.py"
    assert updated(page) == page
    assert updated(page.replace("| `lighting` |", "| `light` |")) == page
