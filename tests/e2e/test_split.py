"""``rayjob split`` as a user runs it: night after night, and what is captioned of it."""

from __future__ import annotations

from pathlib import Path

from rayjob.inputs.listing import iter_inputs, places_of
from schemas.media import StorageOptions
from schemas.sources import SourceConfig
from tests.support.films import Film, Shot, write
from tests.support.jobs import read, split


def test_nights_of_footage_become_segments_each_once(tmp_path: Path) -> None:
    first = Film([Shot(frames=48, seed=1), Shot(frames=48, seed=2), Shot(frames=12, seed=3)])
    videos, out = tmp_path / "in", tmp_path / "out"
    videos.mkdir()
    write(videos, "a.mp4", first.encoded())
    (videos / "broken.mp4").write_bytes(b"no video")
    done = split("--input", videos, "--output", out, "--run-id", "n1")
    assert done.code == 0, done.stderr
    summary = done.summary
    counted = ("videos_captioned", "videos_failed", "segments", "segments_kept")
    assert [summary[name] for name in counted] == [1, 1, 3, 2]
    assert [row["video_id"] for row in read(out, "failures")] == ["broken.mp4"]

    again = Film([Shot(frames=36, seed=9), Shot(frames=48, seed=2)])
    write(videos, "b.mp4", again.encoded(width=160, height=90, crf=28))
    done = split("--input", videos, "--output", out, "--run-id", "n2")
    assert done.code == 0, done.stderr
    assert done.summary["videos_skipped"] == 2
    rows = {(row["video_id"], row["index"]): row for row in read(out, "segments")}
    assert len(read(out, "segments")) == len(rows) == 5
    assert rows["b.mp4", 1]["duplicate_of"] == "a.mp4#t=2,4"
    assert rows["b.mp4", 1]["reason"] == "shows what a.mp4#t=2,4 shows"
    assert "shorter than" in rows["a.mp4", 2]["reason"]

    kept = list(
        iter_inputs([str(out / "segments")], source=SourceConfig(), storage=StorageOptions())
    )
    assert [each.video_id for each in kept] == ["a.mp4#t=0,2", "a.mp4#t=2,4", "b.mp4#t=0,1.5"]
    assert kept[0].uri == f"{videos}/a.mp4#t=0,2"
    assert kept[0].source_version is not None
    places_of([str(out / "segments")], StorageOptions()).check(str(videos / "a.mp4"))
