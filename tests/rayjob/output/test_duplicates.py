"""Which segments show what another video's shows."""

from __future__ import annotations

from pathlib import Path

from rayjob.output.duplicates import Duplicates
from rayjob.output.layout import ResultTables
from rayjob.output.store import TableStore
from schemas.tables import SegmentRow, rows_of, splits_table

TABLES = ResultTables.of_split("split")
HASH = "00ff00ff00ff00ff" * 3


def segment(video_id: str, phash: str | None = HASH, *, end: float = 4.0) -> SegmentRow:
    return SegmentRow(
        video_id=video_id, uri=f"/v/{video_id}", index=0, start_sec=0.0, end_sec=end, phash=phash,
        duration_sec=end, metadata=None,
    )  # fmt: skip


def originals(duplicates: Duplicates, *segments: SegmentRow) -> list[str | None]:
    tables = [splits_table(each.video_id, segments=[each]) for each in segments]
    found = []
    for table in duplicates.marked(tables):
        (row,) = rows_of(table).to_pylist()
        assert row["kept"] == (row["duplicate_of"] is None) == (row["reason"] is None)
        found.append(row["duplicate_of"])
    return found


def test_the_first_of_several_alike_stays(tmp_path: Path) -> None:
    near, far = "00ff00ff00ff00f0" * 3, "00ff00ff00ff0000" * 3
    duplicates = Duplicates(TableStore(tmp_path), TABLES, bits=4)
    assert originals(
        duplicates,
        segment("a"),
        segment("b", near),
        segment("c", far),
        segment("d", near, end=9.0),
        segment("e", None),
        segment("f", None),
        segment("g"),
    ) == [None, "a#t=0,4", None, None, None, None, "a#t=0,4"]


def test_a_video_is_not_compared_with_itself(tmp_path: Path) -> None:
    duplicates = Duplicates(TableStore(tmp_path), TABLES, bits=8)
    assert originals(duplicates, segment("a"), segment("a")) == [None, None]


def test_one_hash_of_three_that_is_far_is_enough_to_differ(tmp_path: Path) -> None:
    duplicates = Duplicates(TableStore(tmp_path), TABLES, bits=8)
    other = HASH[:32] + "ff" * 8
    assert originals(duplicates, segment("a"), segment("b", other)) == [None, None]


def test_earlier_nights_are_known(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    rows = rows_of(splits_table("a", segments=[segment("a")]))
    store.write_table("segments/split=split/run_id=r1/part-00000-epoch0001.parquet", rows)
    assert originals(Duplicates(store, TABLES, bits=8), segment("b")) == ["a#t=0,4"]


def test_there_is_room_for_many(tmp_path: Path) -> None:
    duplicates = Duplicates(TableStore(tmp_path), TABLES, bits=0)
    many = [segment(f"{number}", f"{number:048x}") for number in range(3000)]
    assert originals(duplicates, *many) == [None] * 3000
    assert originals(duplicates, segment("x", f"{2999:048x}")) == ["2999#t=0,4"]
