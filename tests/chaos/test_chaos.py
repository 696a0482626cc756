"""Nothing lost, nothing twice, nothing left, whatever is killed, stopped, slow or late."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.chaos.rounds import NODE_CPUS, WORKERS, Place, Round, fault_counts
from tests.support.fault_proxy import FaultProxy
from tests.support.ray_nodes import RayCluster
from tests.support.services import new_bucket
from tinyworld.render import write_video
from tinyworld.s3 import S3Gateway
from tinyworld.world import sample_scenes

pytestmark = pytest.mark.slow

VIDEOS = 300
SEED = int(os.environ.get("CHAOS_SEED", "1"))
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "6"))
FAULTS = 1000


@pytest.fixture(scope="module")
def place(gateway: S3Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("chaos")
    bucket, client = new_bucket(gateway.client()), gateway.client()
    clips = list[bytes]()
    for number, scene in enumerate(sample_scenes(10, seed=71)):
        path = folder / f"{number}.mp4"
        write_video(path, [(scene, 1.0)])
        clips.append(path.read_bytes())
    ids = [f"{number:03d}.mp4" for number in range(VIDEOS)]
    for number, name in enumerate(ids):
        client.put_object(Bucket=bucket, Key=f"in/{name}", Body=clips[number % len(clips)])
    with (
        FaultProxy(gateway.endpoint_url, seed=SEED) as proxy,
        RayCluster(cpus=1, env={"AWS_ENDPOINT_URL": proxy.endpoint_url}) as cluster,
    ):
        for name in WORKERS:
            cluster.add(name, cpus=NODE_CPUS)
        yield Place(
            cluster=cluster, gateway=gateway, proxy=proxy, bucket=bucket, ids=ids, folder=folder
        )


@pytest.mark.timeout(1500)
def test_rounds_of_chaos(place: Place) -> None:
    rounds = list[Round]()
    for number in range(ROUNDS):
        seed = SEED + number
        # Some with the real engine: its processes die in ways of their own.
        rounds.append(Round(place=place, seed=seed, engine="null" if seed % 6 else "real"))
        rounds[-1].run()
        print(rounds[-1])
        assert not rounds[-1].wrong, (
            f"CHAOS_SEED={rounds[-1].seed} CHAOS_ROUNDS=1: {rounds[-1].wrong}\n{rounds[-1].said}"
        )
    counts = fault_counts(rounds)
    print(f"{counts.total()} faults in {ROUNDS} rounds: {dict(counts.most_common())}")
    assert counts.total() >= FAULTS * ROUNDS // 6
