"""The table of a split as an input."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.storage.places import Places
from rayjob.inputs.listing import Input, iter_inputs, places_of
from rayjob.output.store import TableStore
from schemas.errors import SourceError
from schemas.media import StorageOptions
from schemas.sources import SourceConfig
from schemas.tables import SegmentRow, rows_of, splits_table
from tests.support.outputs import open_store


def fill(store: TableStore, name: str, *, folder: str = "/footage") -> None:
    def segment(index: int, start: float, end: float, kept: bool) -> SegmentRow:
        return SegmentRow(
            video_id="d/a.mp4", uri=f"{folder}/d/a.mp4", index=index, start_sec=start,
            end_sec=end, duration_sec=9.0, metadata='{"n": 1}', source_version="v1", kept=kept,
            reason=None if kept else "still",
        )  # fmt: skip

    rows = [segment(0, 0.0, 2.04, True), segment(1, 2.04, 5, False), segment(2, 5, 9, True)]
    table = rows_of(splits_table("d/a.mp4", segments=rows))
    store.write_table(f"segments/split={name}/run_id=r1/part-00000-epoch0001.parquet", table)


def listed(where: str, storage: StorageOptions) -> list[Input]:
    return list(iter_inputs([where], source=SourceConfig(), storage=storage))


@pytest.mark.parametrize("kind", ["local", "moto"])
@pytest.mark.parametrize("end", ["segments", "segments/", "segments/split=one"])
def test_what_is_kept_is_listed_as_spans_of_the_files(
    kind: str, end: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = open_store(kind, request, tmp_path)
    fill(store, "one")
    found = listed(f"{store.url}/{end}", store.options)
    assert [(each.video_id, each.uri) for each in found] == [
        ("d/a.mp4#t=0,2.04", "/footage/d/a.mp4#t=0,2.04"),
        ("d/a.mp4#t=5,9", "/footage/d/a.mp4#t=5,9"),
    ]
    assert {(each.metadata, each.source_version) for each in found} == {('{"n": 1}', "v1")}


def test_the_files_may_lie_where_those_of_the_split_did(tmp_path: Path) -> None:
    footage = tmp_path / "footage"
    (footage / "d").mkdir(parents=True)
    store = TableStore(tmp_path / "out")
    fill(store, "one", folder=str(footage))
    places: Places = places_of([f"{store.url}/segments"], StorageOptions())
    assert places.folders == tuple(sorted({str(footage), str(tmp_path / "out/segments")}))


def test_a_folder_that_is_only_named_so_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "segments"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"x")
    assert [each.video_id for each in listed(str(folder), StorageOptions())] == ["a.mp4"]


def test_a_name_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    fill(TableStore(tmp_path / "out"), "one")
    with pytest.raises(SourceError):
        listed(str(tmp_path / "out/segments/split=two"), StorageOptions())
