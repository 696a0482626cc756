"""Wherever a video lies, and whether it is a file or a span of one, its caption is the same."""

from __future__ import annotations

import csv
import io
import json
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import jobs
from tinyworld.render import write_video
from tinyworld.world import Scene, grade, sample_scenes

SCENES, SECONDS = 8, 4.0
ATTRIBUTES = ("colour", "shape", "motion", "sound")
BAD = {
    "after the end": (SCENES * SECONDS + 1, SCENES * SECONDS + 5),
    "reversed": (8, 4),
    "negative": (-1, 4),
    "empty": (4, 4),
    "not a number": ("nan", 4),
}


def manifest(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def is_right(caption: str, scene: Scene) -> bool:
    return all(grade(caption, scene, ATTRIBUTES).values())


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same scenes as files, in a tar, a zip and a table, and as segments of one file."""
    work = tmp_path_factory.mktemp("places")
    scenes = list(sample_scenes(SCENES, seed=21))
    (work / "in").mkdir()
    for number, scene in enumerate(scenes):
        write_video(work / "in" / f"f{number}.mp4", [(scene, SECONDS)])
    files = {path.name: path.read_bytes() for path in sorted((work / "in").iterdir())}
    with tarfile.open(work / "in" / "shard.tar", "w") as archive:
        for name, data in files.items():
            for member, body in ((name, data), (f"{name[:2]}.json", json.dumps({"n": name}))):
                info = tarfile.TarInfo(f"t-{member}")
                content = body.encode() if isinstance(body, str) else body
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    with zipfile.ZipFile(work / "in" / "all.zip", "w") as stored:
        for name, data in files.items():
            stored.writestr(name, data)
    cells = pa.array(
        [{"bytes": data, "path": name} for name, data in files.items()],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    pq.write_table(pa.table({"video": cells}), work / "in" / "table.parquet", row_group_size=3)
    (work / "long").mkdir()
    write_video(work / "long" / "long.mp4", [(scene, SECONDS) for scene in scenes])
    spans = [[number * SECONDS, (number + 1) * SECONDS] for number in range(SCENES)]
    # As Panda-70M has them: a row for the video, with a list of spans.
    manifest(
        work / "long" / "panda.csv", ["videoID", "path", "timestamp", "caption"],
        [["long", "long.mp4", str(spans), str([f"c{number}" for number in range(SCENES)])]],
    )  # fmt: skip
    manifest(
        work / "long" / "bad.csv", ["video_id", "path", "start_sec", "end_sec"],
        [[name, "long.mp4", *span] for name, span in BAD.items()]
        + [["partly", "long.mp4", (SCENES - 1) * SECONDS, SCENES * SECONDS + 5]],
    )  # fmt: skip
    return work


@pytest.fixture(scope="module")
def done(work: Path) -> jobs.Done:
    return run(work)


def run(work: Path) -> jobs.Done:
    inputs = (work / "in", work / "long" / "panda.csv", work / "long" / "bad.csv")
    flags = [word for each in inputs for word in ("--input", each)]
    return jobs.caption(*jobs.DEMO, *flags, "--output", work / "out", timeout=550)


def test_every_place_gives_the_same_captions(work: Path, done: jobs.Done) -> None:
    assert done.code == 0, done.stderr
    told = jobs.captions(work / "out")
    scenes = list(sample_scenes(SCENES, seed=21))
    assert len(told) == 5 * SCENES + 1
    for number, scene in enumerate(scenes):
        span = f"#t={number * 4},{number * 4 + 4}"
        of_file = told[f"f{number}.mp4"]
        assert told[f"t-f{number}"] == of_file
        assert told[f"all.zip/f{number}.mp4"] == of_file
        assert told[f"table.parquet/{number}"] == of_file
        # Encoded anew, and so not the same to the bit.
        assert is_right(told[f"long.mp4{span}"], scene) == is_right(of_file, scene)
    right = sum(is_right(told[f"long.mp4#t={n * 4},{n * 4 + 4}"], s) for n, s in enumerate(scenes))
    assert right >= SCENES - 1
    assert told["partly"] == told[f"long.mp4#t={SCENES * 4 - 4},{SCENES * 4}"]


def test_the_tables_name_the_places_and_the_segments(work: Path, done: jobs.Done) -> None:
    rows = {row["video_id"]: row for row in jobs.read(work / "out", "captions")}
    assert rows["t-f0"]["uri"] == f"tar://t-f0.mp4::{work}/in/shard.tar"
    assert json.loads(rows["t-f0"]["metadata"]) == {"n": "f0.mp4"}
    assert rows["all.zip/f1.mp4"]["uri"] == f"zip://f1.mp4::{work}/in/all.zip"
    assert rows["table.parquet/2"]["uri"] == f"parquet://video/2::{work}/in/table.parquet"
    row = rows["long.mp4#t=4,8"]
    assert row["uri"] == f"{work}/long/long.mp4#t=4,8"
    assert (row["start_sec"], row["end_sec"], row["duration_sec"]) == (4.0, 8.0, 4.0)
    assert (row["segment_start_sec"], row["segment_end_sec"]) == (4.0, 8.0)
    assert json.loads(row["metadata"]) == {"caption": "c1", "videoID": "long"}
    assert rows["f0.mp4"]["segment_start_sec"] is None
    assert "captioned up to there" in rows["partly"]["warnings"][0]


def test_bad_spans_are_failures_of_their_own(work: Path, done: jobs.Done) -> None:
    failures = {row["video_id"]: row for row in jobs.read(work / "out", "failures")}
    assert failures.keys() == BAD.keys()
    assert {row["error"] for row in failures.values()} == {"SegmentError"}
    assert not any(row["transient"] for row in failures.values())
    assert failures["after the end"]["segment_start_sec"] == 33.0
    assert done.summary["videos_failed"] == len(BAD)


def test_a_second_run_has_nothing_to_do(work: Path, done: jobs.Done) -> None:
    again = run(work)
    assert again.code == 0, again.stderr
    assert again.summary["videos_captioned"] == 0
    assert len(jobs.read(work / "out", "captions")) == 5 * SCENES + 1


@pytest.mark.slow
def test_segments_of_a_long_file_name_what_is_in_them(tmp_path: Path) -> None:
    """200 spans of a file of 20 minutes; what is before and after each is another scene."""
    scenes = list(sample_scenes(300, seed=5))
    write_video(tmp_path / "long.mp4", [(scene, SECONDS) for scene in scenes])
    chosen = random.Random(1).sample(range(300), 200)
    rows = [["long.mp4", number * SECONDS, (number + 1) * SECONDS] for number in chosen]
    table = manifest(tmp_path / "rows.csv", ["path", "start", "end"], rows)
    done = jobs.caption(*jobs.DEMO, "--input", table, "--output", tmp_path / "out", timeout=550)
    assert done.code == 0, done.stderr
    told = jobs.captions(tmp_path / "out")
    assert len(told) == 200
    right = sum(is_right(told[f"long.mp4#t={n * 4},{n * 4 + 4}"], scenes[n]) for n in chosen)
    assert right >= 190
