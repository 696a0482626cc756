"""What a fusion job finds in tables of captions and in others' CSV files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayjob.inputs.earlier_captions import iter_material
from rayjob.inputs.manifests import Input
from rayjob.output.store import TableStore
from rayjob.recipes.material import Material, SourceRow
from schemas.errors import SourceError, UnusableMaterialError
from schemas.media import StorageOptions, VideoInfo
from schemas.recipe import Video
from schemas.tables import CaptionRow, captions_of, results_table
from tests.support.outputs import KINDS, caption, open_store, together
from tests.support.services import put_objects
from tinyworld.s3 import S3Gateway


def write_shard(store: TableStore, number: int, rows: list[CaptionRow], run_id: str = "r1") -> None:
    table = captions_of(together(results_table(row.video_id, captions=[row]) for row in rows))
    store.write_table(
        f"captions/recipe=structured/run_id={run_id}/part-{number:05d}.parquet", table
    )


def found(*places: str | Path, storage: StorageOptions | None = None) -> dict[str, Input]:
    inputs = list(
        iter_material(
            [str(place) for place in places],
            recipe="structured",
            storage=storage or StorageOptions(),
        )
    )
    by_id = {each.video_id: each for each in inputs}
    assert len(by_id) == len(inputs)
    return by_id


def material(given: Input) -> Material:
    return Material.read(
        Video(
            video_id=given.video_id,
            uri=given.uri,
            metadata=given.metadata,
            material=given.material,
        )
    )


def error(*places: str | Path) -> str:
    with pytest.raises(SourceError) as caught:
        found(*places)
    return str(caught.value)


def write_csv(path: Path, header: list[str], *rows: list[Any]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


# ---- tables


@pytest.mark.parametrize("kind", KINDS)
def test_videos_of_all_runs(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    store = open_store(kind, request, tmp_path)
    write_shard(store, 0, [caption("a", structured='{"x": 1}', metadata='{"k": 1}')])
    write_shard(store, 1, [caption("b"), caption("c")], run_id="r2")
    inputs = found(store.url, storage=store.options)
    assert inputs.keys() == {"a", "b", "c"}
    assert (inputs["a"].uri, inputs["a"].metadata) == ("s3://videos/a", '{"k": 1}')
    read = material(inputs["a"])
    assert read.rows == (
        SourceRow(
            level="video",
            index=0,
            start_sec=0.0,
            end_sec=2.5,
            caption="This is a.",
            structured='{"x": 1}',
            caption_status="ok",
        ),
    )
    assert read.info == VideoInfo(
        duration_sec=2.5, fps=25.0, width=64, height=48, has_video=True, has_audio=True
    )


def test_the_version_of_a_video_travels_with_it(tmp_path: Path) -> None:
    write_shard(TableStore(tmp_path), 0, [caption("a", source_version="v7")])
    assert found(tmp_path)["a"].source_version == "v7"


def test_all_rows_of_a_video_in_the_order_of_their_times(tmp_path: Path) -> None:
    rows = [
        caption("a", level="frame", index=1, start_sec=3.0),
        caption("a", level="clip", index=0, start_sec=0.0),
        caption("b"),
        caption("a", level="frame", index=0, start_sec=1.0),
        caption("a", level="video", index=0, start_sec=None),
    ]
    write_shard(TableStore(tmp_path), 0, rows)
    read = material(found(tmp_path)["a"])
    assert [(row.level, row.index) for row in read.rows] == [
        ("clip", 0),
        ("video", 0),
        ("frame", 0),
        ("frame", 1),
    ]
    assert read.video_caption().level == "video"


def test_a_video_without_a_caption_of_the_whole(tmp_path: Path) -> None:
    write_shard(TableStore(tmp_path), 0, [caption("a", level="clip")])
    with pytest.raises(UnusableMaterialError, match="no caption of the whole video"):
        material(found(tmp_path)["a"]).video_caption()


def test_facts_that_are_not_known_stay_unknown(tmp_path: Path) -> None:
    unknown = dict.fromkeys(("duration_sec", "fps", "width", "height", "has_audio"))
    sound_only = {"fps": 0.0, "width": 0, "height": 0}
    write_shard(TableStore(tmp_path), 0, [caption("a", **unknown), caption("b", **sound_only)])
    inputs = found(tmp_path)
    assert material(inputs["a"]).info is None
    assert material(inputs["b"]).info == VideoInfo(
        duration_sec=2.5, fps=0.0, width=0, height=0, has_video=False, has_audio=True
    )


def test_nothing_there(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        message = error(place)
        assert str(place) in message and "run python -m rayjob.caption" in message
    store = TableStore(tmp_path)
    store.write_table("captions/recipe=omni/run_id=r1/part-00000.parquet", pa.table({"a": [1]}))
    assert "no captions of the recipe structured" in error(tmp_path)


def test_a_table_that_holds_no_captions(tmp_path: Path) -> None:
    write_shard(TableStore(tmp_path), 0, [caption("a")])
    path = tmp_path / "captions/recipe=structured/run_id=r1/part-00000.parquet"
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.drop_columns(["structured", "uri"]), path)
    message = error(tmp_path)
    assert str(path) in message and "lacks the columns structured, uri" in message
    path.write_bytes(b"no Parquet")
    message = error(tmp_path)
    assert str(path) in message and "not a shard of captions" in message


# ---- CSV


def test_a_csv(tmp_path: Path) -> None:
    table = write_csv(
        tmp_path / "captions.csv",
        ["path", "structural_caption", "fps"],
        ["/videos/a.mp4", '{"subjects": [\n1]}', "25"],
        ["b.mp4", "", "30"],
    )
    inputs = found(table)
    assert inputs.keys() == {"videos/a.mp4", "b.mp4"}
    first, second = inputs["videos/a.mp4"], inputs["b.mp4"]
    assert (first.uri, first.metadata) == ("/videos/a.mp4", '{"fps": "25"}')
    assert second.uri == str(tmp_path / "b.mp4")
    assert material(first).video_caption().caption == '{"subjects": [\n1]}'
    # An empty cell is an input like any other: it ends as a failure with its reason.
    assert material(second).video_caption().caption == ""
    assert material(first).info is None


def test_a_csv_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "captions.CSV", ["path", "structural_caption"], ["a.mp4", "{}"])
    monkeypatch.chdir(tmp_path)
    inputs = found("captions.CSV")
    assert inputs["a.mp4"].uri == str(tmp_path / "a.mp4")
    assert inputs["a.mp4"].metadata is None


def test_ids_of_a_csv(tmp_path: Path) -> None:
    table = write_csv(
        tmp_path / "captions.csv", ["video_id", "path", "structural_caption"], ["7", "a.mp4", "{}"]
    )
    assert found(table).keys() == {"7"}


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (["path"], ["a.mp4"], "no column 'structural_caption'"),
        (["path", "caption"], ["a.mp4", "{}"], "no column 'structural_caption'"),
        (["name", "structural_caption"], ["a.mp4", "{}"], "no column with the video's uri"),
        (["path", "structural_caption"], ["", "{}"], "row 1: the column 'path' is empty"),
    ],
)
def test_a_csv_without_a_column(
    tmp_path: Path, header: list[str], row: list[str], message: str
) -> None:
    table = write_csv(tmp_path / "captions.csv", header, row)
    told = error(table)
    assert message in told and str(table) in told


def test_a_csv_that_is_not_there(tmp_path: Path) -> None:
    assert "nowhere.csv" in error(tmp_path / "nowhere.csv")
    assert "has no rows" in error(write_csv(tmp_path / "x.csv", ["path", "structural_caption"]))


def test_tables_and_csv_together_from_s3(
    gateway: S3Gateway, gateway_bucket: str, tmp_path: Path
) -> None:
    storage = StorageOptions(endpoint_url=gateway.endpoint_url)
    write_shard(TableStore(f"s3://{gateway_bucket}/out", storage), 0, [caption("a")])
    data = b'path,structural_caption\r\nclips/b.mp4,"{""subjects"": []}"\r\n'
    put_objects(gateway.client(), gateway_bucket, {"in/captions.csv": data})
    inputs = found(
        f"s3://{gateway_bucket}/out", f"s3://{gateway_bucket}/in/captions.csv", storage=storage
    )
    assert inputs.keys() == {"a", "clips/b.mp4"}
    assert inputs["clips/b.mp4"].uri == f"s3://{gateway_bucket}/in/clips/b.mp4"
    assert material(inputs["clips/b.mp4"]).video_caption().caption == '{"subjects": []}'


def test_captions_of_a_segment_count_from_its_begin(tmp_path: Path) -> None:
    """As the recipe that made them saw it; the fused row is put on the video's clock again."""
    store = TableStore(tmp_path / "out")
    uri = "s3://videos/a#t=100,102.5"
    write_shard(store, 0, [caption("a#t=100,102.5", uri=uri, start_sec=100.0, end_sec=102.5)])
    (given,) = found(store.url).values()
    assert given.uri == uri
    assert [(row.start_sec, row.end_sec) for row in material(given).rows] == [(0.0, 2.5)]
