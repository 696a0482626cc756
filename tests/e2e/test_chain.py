"""From footage on S3 to a data set for training, each command killed once on the way."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.dataset as ds
import pytest
import s3fs

from tests.support import jobs
from tests.support.fault_proxy import FaultProxy
from tinyworld.measure import mark_structured
from tinyworld.render import write_video
from tinyworld.s3 import S3Gateway
from tinyworld.world import Scene, sample_scenes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FILMS, SHOTS, SHOT_SEC = 12, 3, 3.0
SHORT_SEC = 0.5
"""Of a film's last shot, which is not worth captioning."""

SHARD_ROWS = 6
STEPS = ("--set", f"shards.rows={SHARD_ROWS}", "--set", "engine.videos_in_flight=1")
"""Slow and in small steps, so that there is a middle to be killed in."""


def films() -> list[list[Scene]]:
    """Scenes of each film; no two in a row look alike."""
    apart = (
        next(group)
        for _, group in itertools.groupby(sample_scenes(90, seed=61), lambda one: one.background)
    )
    return [list(itertools.islice(apart, SHOTS + 1)) for _ in range(FILMS)]


@pytest.fixture
def scenes(gateway: S3Gateway, gateway_bucket: str, tmp_path: Path) -> dict[str, Scene]:
    """Footage in the bucket, and a file that is none; id of a segment -> what it shows."""
    shown = {}
    for number, film in enumerate(films()):
        path = tmp_path / f"{number:02d}.mp4"
        lengths = [*[SHOT_SEC] * SHOTS, SHORT_SEC]
        write_video(path, list(zip(film, lengths, strict=True)))
        gateway.client().upload_file(str(path), gateway_bucket, f"in/{path.name}")
        for place, scene in enumerate(film[:SHOTS]):
            shown[f"{path.name}#t={place * SHOT_SEC:g},{(place + 1) * SHOT_SEC:g}"] = scene
    gateway.client().put_object(Bucket=gateway_bucket, Key="in/broken.mp4", Body=b"no video")
    return shown


class Place:
    """What lies below a prefix on S3."""

    def __init__(self, gateway: S3Gateway, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = gateway.client(), bucket, prefix
        self.url = f"s3://{bucket}/{prefix}"

    def files(self, folder: str) -> list[str]:
        listing = self._client.list_objects_v2(
            Bucket=self._bucket, Prefix=f"{self._prefix}/{folder}/"
        )
        keys = [each["Key"] for each in listing.get("Contents", ())]
        return [key for key in keys if key.endswith(".parquet")]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table, by a plain read."""
        if not self.files(table):
            return []
        found: list[dict[str, Any]]
        found = (
            ds.dataset(
                f"{self._bucket}/{self._prefix}/{table}",
                filesystem=s3fs.S3FileSystem(use_listings_cache=False),
                format="parquet",
                partitioning="hive",
            )
            .to_table()
            .to_pylist()
        )
        return found


def test_every_command_is_killed_once(
    gateway: S3Gateway,
    gateway_bucket: str,
    scenes: dict[str, Scene],
    fault_proxy: Callable[..., FaultProxy],
    tmp_path: Path,
) -> None:
    out = Place(gateway, gateway_bucket, "out")

    def killed_and_done(
        module: str, table: str, *arguments: str
    ) -> tuple[list[dict[str, Any]], jobs.Done]:
        """The rows that a killed run left, and how the same command went on."""
        jobs.kill(
            *arguments, module=module, env=gateway.env, once=lambda: len(out.files(table)) >= 2
        )
        kept = out.rows(table)
        done = jobs.run(module, *arguments, env=gateway.env)
        assert done.code == 0, done.stderr
        rows = out.rows(table)
        assert len(kept) < len(rows) and all(row in rows for row in kept)
        return kept, done

    kept, done = killed_and_done(
        jobs.SPLIT, "segments", "--input", f"s3://{gateway_bucket}/in/", "--output", out.url,
        # Scenes of plain shapes look alike to a hash.
        "--set", "duplicate_bits=null", "--set", "shards.rows=1", "--set", "decode.actors=1",
    )  # fmt: skip
    segments = out.rows("segments")
    assert len(segments) == FILMS * (SHOTS + 1)
    assert len({(row["video_id"], row["index"]) for row in segments}) == len(segments)
    assert {row["reason"] for row in segments} == {None, "0.50 s are shorter than 1 s"}
    assert sum(row["kept"] for row in segments) == len(scenes)
    # The broken file may have been met before the kill as well.
    before = len({row["video_id"] for row in kept})
    assert done.summary["videos_skipped"] in (before, before + 1)
    told = [(row["video_id"], row["recipe"]) for row in out.rows("failures")]
    assert told == [("broken.mp4", "split")]

    kept, done = killed_and_done(
        jobs.CAPTION, "captions", "--config", "configs/demo-structured.yaml",
        "--input", f"{out.url}/segments", "--output", out.url, *STEPS,
    )  # fmt: skip
    assert done.summary["videos_in"] == len(scenes)
    assert done.summary["videos_skipped"] == len(kept)
    captions = {row["video_id"]: row for row in out.rows("captions")}
    assert len(out.rows("captions")) == len(captions)
    assert captions.keys() == scenes.keys()
    right = [mark_structured(captions[name]["structured"], scenes[name]) for name in scenes]
    assert np.mean([mark["colour"] and mark["shape"] for mark in right]) >= 0.9

    kept, done = killed_and_done(
        jobs.FUSE, "fused", "--config", "configs/demo-t2v.yaml", "--input", out.url, *STEPS
    )
    assert done.summary["videos_skipped"] == len(kept)
    fused = {row["video_id"]: row for row in out.rows("fused")}
    assert len(out.rows("fused")) == len(fused)
    assert fused.keys() == scenes.keys()
    assert len(out.rows("failures")) == 1

    # The files of the export are there, the card that names them is on its way.
    proxy = fault_proxy(gateway.endpoint_url)
    proxy.break_requests({"hold": 1.0}, methods=("PUT",), path="README.md", stall_sec=60)
    through = {**gateway.env, "AWS_ENDPOINT_URL": proxy.endpoint_url}
    made = Place(gateway, gateway_bucket, "set")
    arguments = ("--input", out.url, "--name", "t2v", "--format", "hf", "--output", made.url)
    jobs.kill(*arguments, module=jobs.EXPORT, env=through, once=lambda: proxy.counts["hold"] > 0)
    (half,) = made.files("data")
    done = jobs.run(jobs.EXPORT, *arguments, env=gateway.env)
    assert done.code == 0, done.stderr
    assert half not in made.files("data")

    s3fs.S3FileSystem(use_listings_cache=False).get(
        f"{gateway_bucket}/set", str(tmp_path / "set"), recursive=True
    )
    loaded = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    rows = list(loaded["train"])
    assert {row["video_id"]: row["caption"] for row in rows} == {
        name: row["caption"] for name, row in fused.items()
    }
    assert len(rows) == len(fused)
