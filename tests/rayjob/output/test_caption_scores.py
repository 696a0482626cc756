"""A model's scores of segments, from captions of them, as filters of a split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rayjob.inputs.listing import iter_inputs
from rayjob.output.caption_scores import CaptionScores
from rayjob.output.store import TableStore
from schemas.errors import ConfigError
from schemas.media import StorageOptions
from schemas.sources import SourceConfig
from schemas.splitting import Range, SplitConfig
from schemas.tables import SegmentRow, results_table, rows_of, splits_table
from tests.support.outputs import caption, write

QUALITY = Range(caption="quality", field="score", min=3)


def segments(count: int) -> list[SegmentRow]:
    return [
        SegmentRow(
            video_id="d/a.mp4", uri="/v/d/a.mp4", index=at, start_sec=2.04 * at,
            end_sec=2.04 * (at + 1), duration_sec=9.0, metadata=None,
        )
        for at in range(count)
    ]  # fmt: skip


def scored(store: TableStore, *captions: dict[str, Any] | str, name: str = "quality") -> None:
    """Captions of the segments that the table of a split names as inputs, in its order."""
    store.write_table(
        "segments/split=split/run_id=r1/part-00000-epoch0001.parquet",
        rows_of(splits_table("d/a.mp4", segments=segments(len(captions)))),
    )
    inputs = iter_inputs([f"{store.url}/segments"], source=SourceConfig(), storage=StorageOptions())
    for each, told in zip(inputs, captions, strict=True):
        row = caption(each.video_id, **(told if isinstance(told, dict) else {"caption": told}))
        write(store, f"r{each.video_id[-1]}", results_table(each.video_id, captions=[row]),
              recipe=name)  # fmt: skip


def marked(store: TableStore, count: int, **filters: Range) -> list[tuple[bool, str | None]]:
    table = splits_table("d/a.mp4", segments=segments(count))
    (made,) = CaptionScores(store, filters).marked([table])
    return [(row["kept"], row["reason"]) for row in rows_of(made).to_pylist()]


def test_a_segment_stays_as_a_row_with_what_its_captions_score_was(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    scored(store, '{"score": 4, "why": "sharp"}', '{"score": 2}', '{"score": "1.5"}')
    assert marked(store, 3, good=QUALITY) == [
        (True, None),
        (False, "good 2 is below 3"),
        (False, "good 1.5 is below 3"),
    ]


def test_a_caption_may_be_the_number(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    scored(store, " 0.2\n", "0.9", "0.5")
    loud = Range(caption="quality", max=0.6)
    assert marked(store, 3, loud=loud, low=Range(caption="quality", min=0.3)) == [
        (False, "low 0.2 is below 0.3"),
        (False, "loud 0.9 is above 0.6"),
        (True, None),
    ]


def test_an_answer_that_is_structured_is_read_as_it_was_checked(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    scored(store, {"caption": "```json {", "structured": '{"score": 1}'})
    assert marked(store, 1, good=QUALITY) == [(False, "good 1 is below 3")]


def test_what_is_not_known_passes(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    scored(
        store, '{"score": 9}', "I cannot say", "[1]", '{"score": null}', '{"score": NaN}',
        {"caption": '{"score": 1}', "caption_status": "truncated"},
    )  # fmt: skip
    assert marked(store, 7, good=QUALITY) == [(True, None)] * 7


def test_captions_that_are_not_there_or_hold_no_number_are_an_error(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    with pytest.raises(ConfigError, match="--name quality first"):
        CaptionScores(store, {"good": QUALITY})
    scored(store, "a dog runs")
    with pytest.raises(ConfigError, match=r"filters\.good: .* JSON with a number 'score'"):
        CaptionScores(store, {"good": QUALITY})


def test_other_filters_take_no_captions(tmp_path: Path) -> None:
    assert marked(TableStore(tmp_path), 1, black=Range(max=0.1)) == [(True, None)]


@pytest.mark.parametrize(
    ("name", "wanted", "message"),
    [
        ("blak", {"max": 1}, "no score is named blak"),
        ("black", {"max": 1, "caption": "quality"}, "black is a score of its own"),
        ("black", {"max": 1, "field": "score"}, "field goes with caption"),
    ],
)
def test_a_filter_is_on_a_column_or_on_captions(
    name: str, wanted: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SplitConfig.model_validate({"input": "in", "output": "out", "filters": {name: wanted}})
