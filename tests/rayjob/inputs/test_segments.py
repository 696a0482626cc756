"""Segments in manifests: the notations of published data sets, and what becomes of wrong ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayjob.ids import Earlier
from rayjob.inputs.listing import iter_inputs, places_of
from rayjob.inputs.manifests import Input
from rayjob.inputs.todo import write_todo
from rayjob.output.store import TableStore
from schemas.errors import SourceError
from schemas.media import StorageOptions
from schemas.sources import SourceConfig
from tests.support.inputs import listed


def table(folder: Path, header: list[str], *rows: list[Any], name: str = "rows.csv") -> Path:
    path = folder / name
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t" if name.endswith("tsv") else ",").writerows([header, *rows])
    return path


def ids(inputs: list[Input]) -> list[str]:
    return [each.video_id for each in inputs]


def metadata(found: Input) -> Any:
    return json.loads(found.metadata or "{}")


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        (["start_sec", "end_sec"], ["12.5", "20"]),
        (["start", "end"], ["0:00:12.500", "0:00:20.000"]),
        (["Start_Time", "End_Time"], ["12.5", "00:20"]),
        (["Start_timestamp", "End_timestamp"], ["00:00:12.500", "00:00:20.000"]),
        (["clip_start", "clip_end"], [" 12.5 ", "20.0"]),
        (["timestamp"], ["['0:00:12.500', '0:00:20.000']"]),
        (["span"], ['["12.5", 20]']),
    ],
)
def test_a_span(tmp_path: Path, columns: list[str], cells: list[str]) -> None:
    rows = table(tmp_path, ["video", *columns, "note"], ["a.mp4", *cells, "n"])
    (found,) = listed(rows)
    assert found.video_id == "a.mp4#t=12.5,20"
    assert found.uri == f"{tmp_path}/a.mp4#t=12.5,20"
    assert metadata(found) == {"note": "n"}


def test_panda_70m(tmp_path: Path) -> None:
    """A row for each long video, its columns lists of one length."""
    rows = table(
        tmp_path,
        ["videoID", "url", "timestamp", "caption", "matching_score"],
        ["--a", "https://www.youtube.com/watch?v=--a",
         "[['0:00:05.838', '0:00:11.811'], ['0:00:11.811', '0:00:20.000']]",
         "['A dog runs.', \"It's a cat, asleep.\"]", "[0.41, 0.39]"],
        ["b", "https://www.youtube.com/watch?v=b", "[['0:01:00.000', '0:01:02.000']]",
         "['A boat.']", "[0.5]"],
    )  # fmt: skip
    found = listed(rows)
    assert ids(found) == [
        "www.youtube.com/watch?v=--a#t=5.838,11.811",
        "www.youtube.com/watch?v=--a#t=11.811,20",
        "www.youtube.com/watch?v=b#t=60,62",
    ]
    assert [metadata(each)["caption"] for each in found] == [
        "A dog runs.", "It's a cat, asleep.", "A boat.",
    ]  # fmt: skip
    assert [metadata(each)["matching_score"] for each in found] == [0.41, 0.39, 0.5]
    assert metadata(found[1])["videoID"] == "--a"


def test_koala_36m(tmp_path: Path) -> None:
    """A row for each clip, with its span as one list."""
    rows = table(
        tmp_path,
        ["videoID", "url", "timestamp", "caption", "clarity"],
        ["x_1", "https://www.youtube.com/watch?v=x", "['0:00:00.000', '0:00:09.967']", "C1", "0.9"],
        ["x_2", "https://www.youtube.com/watch?v=x", "['0:00:09.967', '0:00:12.000']", "C2", "0.8"],
    )  # fmt: skip
    assert [each.uri.partition("#")[2] for each in listed(rows)] == ["t=0,9.967", "t=9.967,12"]


def test_internvid(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"YoutubeID": "x", "url": "s3://b/x.mp4", "Caption": "c", "UMT_Score": 0.4}
    spans = [("00:00:49.400", "00:00:53.100"), ("00:01:00.000", "00:01:02.500")]
    lines = [row | {"Start_timestamp": one, "End_timestamp": two} for one, two in spans]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert ids(listed(path)) == ["b/x.mp4#t=49.4,53.1", "b/x.mp4#t=60,62.5"]


def test_columns_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = [
        {"uri": "s3://b/a.mp4", "timestamp": [[0.0, 1.5], [1.5, 3.0]], "caption": ["p", "q"]},
        {"uri": "s3://b/b.mp4", "timestamp": [[4.0, 5.0]], "caption": ["r"]},
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert ids(listed(path)) == ["b/a.mp4#t=0,1.5", "b/a.mp4#t=1.5,3", "b/b.mp4#t=4,5"]
    assert [metadata(each) for each in listed(path)] == [
        {"caption": "p"}, {"caption": "q"}, {"caption": "r"},
    ]  # fmt: skip


def test_ids_that_are_given(tmp_path: Path) -> None:
    one = table(tmp_path, ["video_id", "uri", "start", "end"], ["mine", "s3://b/a.mp4", 1, 2])
    assert ids(listed(one)) == ["mine"]
    several = table(
        tmp_path, ["video_id", "uri", "timestamp"], ["mine", "s3://b/a.mp4", "[[1, 2], [3, 4]]"],
        name="several.csv",
    )  # fmt: skip
    assert ids(listed(several)) == ["mine#t=1,2", "mine#t=3,4"]


def test_a_row_without_a_span_is_a_whole_video(tmp_path: Path) -> None:
    rows = table(
        tmp_path, ["uri", "start", "end"],
        ["s3://b/a.mp4", "", ""], ["s3://b/a.mp4", "5", ""], ["s3://b/a.mp4", "", "5"],
    )  # fmt: skip
    assert ids(listed(rows)) == ["b/a.mp4", "b/a.mp4#t=5", "b/a.mp4#t=0,5"]


def test_an_address_with_a_span(tmp_path: Path) -> None:
    rows = table(
        tmp_path, ["uri", "start", "end"],
        ["s3://b/a.mp4#t=0:00:01,2", "7", "8"], ["https://h/v.mp4?id=1#t=1,2", "", ""],
    )  # fmt: skip
    found = listed(rows)
    assert ids(found) == ["b/a.mp4#t=1,2", "h/v.mp4?id=1#t=1,2"]
    # It counts, and what else the row says stays what it is.
    assert metadata(found[0]) == {"start": "7", "end": "8"}


def test_our_own_tables_name_the_segment_and_not_the_caption(tmp_path: Path) -> None:
    header = ["video_id", "uri", "start_sec", "end_sec", "segment_start_sec", "segment_end_sec"]
    rows = table(
        tmp_path, header,
        ["a", "s3://b/a.mp4", "0", "4", "", ""],
        ["a#t=8,20", "s3://b/a.mp4#t=8,20", "8", "12", "8", "20"],
    )  # fmt: skip
    assert [each.uri for each in listed(rows)] == ["s3://b/a.mp4", "s3://b/a.mp4#t=8,20"]


@pytest.mark.parametrize(
    ("cells", "fragment"),
    [
        (["20", "10"], "#t=20,10"),
        (["-1", "10"], "#t=-1,10"),
        (["nan", "10"], "#t=nan,10"),
        (["soon", "10"], "#t=?soon,10"),
        (["2024-01-01T00:00:00", "2024-01-01T00:00:09"], "#t=?2024-01-01T00%3A00%3A00,"),
    ],
)
def test_what_is_not_a_span_costs_one_input(
    tmp_path: Path, cells: list[str], fragment: str
) -> None:
    rows = table(tmp_path, ["uri", "start", "end"], ["s3://b/a.mp4", *cells])
    (found,) = listed(rows)
    assert found.uri.startswith(f"s3://b/a.mp4{fragment}")


@pytest.mark.parametrize(
    "cell",
    ["[]", "[[1, 2, 3]]", "[1]", "[[], []]", "[['0:00:05.838', '0:0", "[" * 5000, "[1, open('x')]"],
)
def test_a_list_that_is_not_one_of_spans(tmp_path: Path, cell: str) -> None:
    rows = table(tmp_path, ["uri", "timestamp"], ["s3://b/a.mp4", cell])
    assert all("#t=?" in each.uri for each in listed(rows))


def test_a_time_stamp_that_is_not_a_list_is_metadata(tmp_path: Path) -> None:
    rows = table(tmp_path, ["uri", "timestamp"], ["s3://b/a.mp4", "2024-01-01 10:00"])
    (found,) = listed(rows)
    assert found.uri == "s3://b/a.mp4"
    assert metadata(found) == {"timestamp": "2024-01-01 10:00"}


def test_as_an_input(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "b.mp4").write_bytes(b"x")
    (found,) = listed(f"{tmp_path}/a.mp4#t=0:01,20")
    assert (found.video_id, found.uri) == ("a.mp4#t=1,20", f"{tmp_path}/a.mp4#t=1,20")
    assert found.source_version is not None
    assert ids(listed(f"{tmp_path}#t=,3")) == ["a.mp4#t=0,3", "b.mp4#t=0,3"]
    assert places_of([f"{tmp_path}/a.mp4#t=1,2"], StorageOptions()).folders == (str(tmp_path),)
    with pytest.raises(SourceError, match="is a segment already"):
        listed(f"{table(tmp_path, ['uri'], ['s3://b/a.mp4#t=1,2'])}#t=1,2")


def test_a_file_that_is_named_like_a_segment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4#t=1,2").write_bytes(b"x")
    config = SourceConfig(extensions=("*",))
    with pytest.raises(SourceError, match="is named as a segment of a video is; rename it"):
        list(iter_inputs([str(tmp_path)], source=config, storage=StorageOptions()))


def test_segments_are_inputs_of_their_own_and_those_of_a_file_stand_together(
    tmp_path: Path,
) -> None:
    rows = table(
        tmp_path, ["uri", "start", "end"],
        *([f"s3://b/{name}.mp4", begin, begin + 1] for begin in range(3) for name in "ab"),
        ["s3://b/a.mp4", 0, 1],
    )  # fmt: skip
    store = TableStore(str(tmp_path / "out"), StorageOptions())
    todo = write_todo(store, "run", iter(listed(rows)), Earlier())
    assert (todo.total, todo.todo, todo.repeated, todo.manifest_rows) == (6, 6, 1, 7)
    with store.open_parquet(todo.files[0]) as file:
        uris = file.read(columns=["uri"]).column("uri").to_pylist()
    assert uris == [f"s3://b/{name}.mp4#t={at},{at + 1}" for name in "ab" for at in range(3)]


def test_one_id_for_two_spans_is_refused(tmp_path: Path) -> None:
    rows = table(
        tmp_path, ["video_id", "uri", "start", "end"],
        ["a", "s3://b/a.mp4", 0, 1], ["a", "s3://b/a.mp4", 1, 2],
    )  # fmt: skip
    store = TableStore(str(tmp_path / "out"), StorageOptions())
    with pytest.raises(SourceError, match=r"two inputs have the id 'a': .*#t=1,2 and .*#t=0,1"):
        write_todo(store, "run", iter(listed(rows)), Earlier())
