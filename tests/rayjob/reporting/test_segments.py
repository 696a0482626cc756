"""What the report shows of a split."""

from __future__ import annotations

from pathlib import Path

from rayjob.output.store import TableStore
from rayjob.reporting.runs import find_runs
from rayjob.reporting.segments import pieces_of
from schemas.tables import SegmentRow, rows_of, splits_table
from tests.support.reports import make_run, page_of


def piece(index: int, begin: float, end: float, reason: str | None = None) -> SegmentRow:
    return SegmentRow(
        video_id="a<b>.mp4", uri="/v/a.mp4", index=index, start_sec=begin, end_sec=end,
        duration_sec=9.0, metadata=None, kept=reason is None, reason=reason,
    )  # fmt: skip


def test_a_strip_shows_what_is_kept_and_why_the_rest_is_not(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "out")
    make_run(store, "r1", config={"cuts": {"fps": 5}})
    rows = [
        piece(1, 4.0, 4.5, "0.50 s are shorter than 1 s; still 0.97 is above 0.9"),
        piece(0, 0.0, 4.0),
        piece(2, 4.5, 9.0, "shows what b.mp4#t=0,4.5 shows"),
    ]
    table = rows_of(splits_table("a<b>.mp4", segments=rows))
    store.write_table("segments/split=split/run_id=r1/part-00000-epoch0001.parquet", table)
    (run,) = find_runs([store], ())
    found = pieces_of(run, sample=5, seed=0)
    assert found is not None
    assert (found.kept, found.rejected) == (1, 2)
    assert found.reasons == [
        ("shorter than 1 s; still is above 0.9", 1), ("shows what another video shows", 1)
    ]  # fmt: skip
    ((_, pieces),) = found.videos
    assert [(each.begin, each.end, each.css) for each in pieces] == [
        (0.0, 4.0, "ok"), (4.0, 4.5, "failed"), (4.5, 9.0, "failed")
    ]  # fmt: skip
    page = page_of(store, pictures=False)
    tiles = page[page.index('class="tiles"') :].partition("</ul>")[0]
    assert "videos split" in tiles and "segments" in tiles
    assert "caption" not in tiles and "tokens" not in tiles
    assert 'id="segments"' in page and "a&lt;b&gt;.mp4" in page
    assert "4.50 to 9.00 s: shows what b.mp4#t=0,4.5 shows" in page


def test_a_run_without_segments_has_no_strip(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "out")
    make_run(store, "r1")
    (run,) = find_runs([store], ())
    assert pieces_of(run, sample=5, seed=0) is None
    assert 'id="segments"' not in page_of(store, pictures=False)
