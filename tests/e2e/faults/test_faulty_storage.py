"""An S3 endpoint that fails a third of all requests: everything is captioned in the end."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import jobs
from tests.support.fault_proxy import FaultProxy
from tinyworld.render import write_video
from tinyworld.s3 import S3Gateway
from tinyworld.world import sample_scenes

CLIPS = 12


@pytest.mark.timeout(600)
def test_a_third_of_the_requests_fails(
    gateway: S3Gateway,
    gateway_bucket: str,
    fault_proxy: Callable[..., FaultProxy],
    tmp_path: Path,
) -> None:
    client = gateway.client()
    for number, scene in enumerate(sample_scenes(CLIPS, seed=51)):
        path = tmp_path / f"{number:02d}.mp4"
        write_video(path, [(scene, 2.0)])
        client.upload_file(str(path), gateway_bucket, f"in/{path.name}")
    proxy = fault_proxy(gateway.endpoint_url, seed=1)
    kinds = ("slow_down", "reset", "cut")
    proxy.break_requests(dict.fromkeys(kinds, 1 / 9))
    done = jobs.caption(
        *jobs.DEMO,
        *("--input", f"s3://{gateway_bucket}/in/", "--output", f"s3://{gateway_bucket}/out"),
        *("--set", "shards.rows=4"),
        env={**gateway.env, "AWS_ENDPOINT_URL": proxy.endpoint_url},
        timeout=500,
    )
    assert done.code == 0, done.stderr
    assert (done.summary["videos_captioned"], done.summary["videos_failed"]) == (CLIPS, 0)
    assert all(proxy.counts[kind] > 0 for kind in kinds), proxy.counts

    local = tmp_path / "out"
    for item in client.list_objects_v2(Bucket=gateway_bucket, Prefix="out/captions/")["Contents"]:
        target = local / item["Key"].removeprefix("out/")
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(gateway_bucket, item["Key"], str(target))
    assert sorted(jobs.captions(local)) == [f"{number:02d}.mp4" for number in range(CLIPS)]
