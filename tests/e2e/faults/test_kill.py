"""``kill -9`` of the driver, then the same command again: each key once, nothing twice."""

import io
import tarfile
import time
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
import s3fs

from tests.support import jobs
from tinyworld.render import write_video
from tinyworld.s3 import S3Gateway
from tinyworld.world import sample_scenes

pytestmark = pytest.mark.slow

CLIPS = 60
SHARD_ROWS = 6


def rows(bucket: str) -> list[dict[str, Any]]:
    """A plain read of captions in the bucket."""
    filesystem = s3fs.S3FileSystem(use_listings_cache=False)
    if not filesystem.exists(f"{bucket}/out/captions"):
        return []
    found: list[dict[str, Any]] = (
        ds.dataset(
            f"{bucket}/out/captions",
            filesystem=filesystem,
            format="parquet",
            partitioning="hive",
        )
        .to_table()
        .to_pylist()
    )
    return found


def put(gateway: S3Gateway, bucket: str, folder: Path, *, in_a_tar: bool) -> list[str]:
    """Render the clips and store them, as objects or in one archive; their ids."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number, scene in enumerate(sample_scenes(CLIPS, seed=21)):
            path = folder / f"{number:02d}.mp4"
            write_video(path, [(scene, 3.0)])
            tar.add(path, path.name)
            if not in_a_tar:
                gateway.client().upload_file(str(path), bucket, f"in/{path.name}")
    if in_a_tar:
        gateway.client().put_object(Bucket=bucket, Key="in/all.tar", Body=archive.getvalue())
    return [f"{number:02d}" if in_a_tar else f"{number:02d}.mp4" for number in range(CLIPS)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("in_a_tar", "kills", "settings"),
    [(False, (0, 1, 4), ()), (True, (5,), ()), (False, (4,), jobs.TWO_EXECUTORS)],
    ids=["files", "members", "executors"],
)
def test_killed(
    gateway: S3Gateway,
    gateway_bucket: str,
    tmp_path: Path,
    in_a_tar: bool,
    kills: tuple[int, ...],
    settings: tuple[str, ...],
) -> None:
    ids = put(gateway, gateway_bucket, tmp_path, in_a_tar=in_a_tar)
    arguments = [
        *jobs.DEMO,
        *("--input", f"s3://{gateway_bucket}/in/", "--output", f"s3://{gateway_bucket}/out"),
        # Slow and in small steps, so that there is a middle to be killed in.
        *("--set", f"shards.rows={SHARD_ROWS}", "--set", "engine.videos_in_flight=1"),
        *settings,
    ]

    def shards() -> int:
        listing = gateway.client().list_objects_v2(Bucket=gateway_bucket, Prefix="out/captions/")
        return int(listing["KeyCount"])

    def run_and_kill(written: int) -> list[dict[str, Any]]:
        """Start the job; kill it once so many shards stand in the output."""
        # Without any: while it starts, before the first result.
        starting = time.monotonic() + 8
        jobs.kill(
            *arguments,
            once=lambda: shards() >= written if written else time.monotonic() > starting,
            env=gateway.env,
        )
        return rows(gateway_bucket)

    kept: list[dict[str, Any]] = []
    for written in kills:
        after = run_and_kill(written)
        assert written * SHARD_ROWS <= len(after) < CLIPS
        assert all(row in after for row in kept), "a rerun touched what was written"
        kept = after

    done = jobs.caption(*arguments, env=gateway.env)
    assert done.code == 0, done.stderr
    final = rows(gateway_bucket)
    assert sorted(row["video_id"] for row in final) == ids
    assert all(row in final for row in kept)
    assert done.summary["videos_skipped"] == len(kept)
    assert done.summary["videos_captioned"] == CLIPS - len(kept)
