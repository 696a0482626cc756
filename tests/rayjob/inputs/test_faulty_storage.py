"""Places inside files on a storage that breaks a third of the requests: the same listing, and the
same bytes, frames and sound, as from the disk.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.confinement.sandbox import DecodeSandbox
from actors.storage import client
from actors.storage.access import read_whole
from actors.storage.uris import public_uri
from schemas.blocks import video_of
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from tests.support.fault_proxy import FaultProxy
from tests.support.inputs import listed
from tests.support.media import Sound, render

KINDS = ("slow_down", "reset", "cut", "cut_quietly")
CHANCE = random.Random(5)
BODIES = {f"{number:02d}.mp4": CHANCE.randbytes(150_000 + 7 * number) for number in range(8)}


def archives(folder: Path) -> list[Path]:
    """The same bodies in a tar, a zip and a table, the first with files beside them."""
    made = [folder / name for name in ("a.tar", "a.zip", "a.parquet")]
    with tarfile.open(made[0], "w") as tar, zipfile.ZipFile(made[1], "w") as stored:
        for name, body in BODIES.items():
            beside = json.dumps({"name": name}).encode()
            for member, content in ((name, body), (f"{name[:2]}.json", beside)):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            stored.writestr(name, body)
    pq.write_table(pa.table({"video": [*BODIES.values()]}), made[2], row_group_size=5)
    return made


@pytest.fixture
def shaky(
    gateway: Any, fault_proxy: Callable[..., FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> tuple[FaultProxy, StorageOptions]:
    monkeypatch.setattr(client, "FIRST_WAIT_SEC", 0.01)
    proxy = fault_proxy(gateway.endpoint_url, seed=11)
    options = StorageOptions(endpoint_url=proxy.endpoint_url, timeout_sec=5, retries=15)
    proxy.break_requests(dict.fromkeys(KINDS, 1 / 12))
    return proxy, options


def test_members_and_cells(
    gateway: Any, gateway_bucket: str, shaky: tuple[FaultProxy, StorageOptions], tmp_path: Path
) -> None:
    proxy, options = shaky
    for path in archives(tmp_path):
        gateway.client().upload_file(str(path), gateway_bucket, path.name)
        here, there = listed(path), listed(f"s3://{gateway_bucket}/{path.name}", storage=options)
        assert [(each.video_id, each.metadata) for each in there] == [
            (each.video_id, each.metadata) for each in here
        ]
        for each, body in zip(there, BODIES.values(), strict=True):
            assert read_whole(each.uri, options) == body
        # By its name alone, as the tables have it: the archive is looked through once more.
        assert read_whole(public_uri(there[6].uri), options) == [*BODIES.values()][6]
    assert all(proxy.counts[kind] > 0 for kind in KINDS), proxy.counts


def test_segments(
    gateway: Any, gateway_bucket: str, shaky: tuple[FaultProxy, StorageOptions], tmp_path: Path
) -> None:
    """Of a file, and of the same file inside an archive."""
    proxy, options = shaky
    noise = np.random.default_rng(1).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    film = render(
        tmp_path / "film.mp4", count=3000, gop=50, codec_options={"crf": "24"},
        image=lambda number: np.roll(noise, 3 * number, axis=1),
        sounds=[Sound(seconds=120, bursts=[(30, 31), (60, 61)])],
    )  # fmt: skip
    archive = tmp_path / "films.zip"
    with zipfile.ZipFile(archive, "w") as stored:
        stored.write(film, "film.mp4")
    for path in (film, archive):
        gateway.client().upload_file(str(path), gateway_bucket, path.name)
    places = (
        (str(film), f"s3://{gateway_bucket}/film.mp4"),
        (f"zip://film.mp4::{archive}", f"zip://film.mp4::s3://{gateway_bucket}/films.zip"),
    )
    plan = SamplingPlan(fps=2, audio_rate=16_000)
    with (
        DecodeSandbox(DecodeLimits(), StorageOptions()) as calm,
        DecodeSandbox(DecodeLimits(), options) as other,
    ):
        for local, remote in places:
            for begin in (29, 60.5, 61.5, 3, 112):
                span = f"#t={begin},{begin + 4}"
                known = video_of(calm.decode(local + span, plan))
                clip = video_of(other.decode(remote + span, plan))
                np.testing.assert_array_equal(clip.frames, known.frames)
                np.testing.assert_array_equal(clip.audio, known.audio)
                assert clip.warnings == known.warnings == ()
    assert sum(proxy.counts[kind] for kind in KINDS) >= 5, proxy.counts
