"""How many inputs one task carries, which, and what its decoder asks of the storage for them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from actors.stages import Decoder
from actors.storage.places import Places
from rayjob.run.graph import Tasks, tasks_of
from schemas.blocks import INPUTS, packed, undecoded_table, unpacked, video_of
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from tests.support.fault_proxy import FaultProxy
from tests.support.media import number_of, render

RATE, SECONDS = 25, 60
SHORT = SamplingPlan(num_frames=4, max_pixels=128 * 128)
CLIP = SamplingPlan(num_frames=32, max_pixels=100_352, audio_rate=16_000)  # 11.6 MB
LARGE = SamplingPlan(num_frames=64, stretch_to=(1280, 720))  # 177 MB
HOUR = SamplingPlan(fps=1.0)


def rows(*uris: str) -> list[dict[str, Any]]:
    return [
        dict.fromkeys(INPUTS.names) | {"video_id": uri, "uri": uri, "attempts": 0} for uri in uris
    ]


def test_segments_of_a_file_go_together_and_whole_files_a_few_at_a_time() -> None:
    films = [f"s3://b/film.mp4#t={second},{second + 1}" for second in range(70)]
    uris = ["/a.mp4", "/b.mp4", *films, "/c.mp4", "/d.mp4#t=1,2", "/e.mp4", "/e.mp4#t=1,2"]
    tasks = [[row["uri"] for row in task] for task in tasks_of(rows(*uris), 3)]
    assert sorted(uri for task in tasks for uri in task) == sorted(uris)
    assert tasks == [
        films[:32], films[32:64], films[64:], ["/a.mp4", "/b.mp4", "/c.mp4"],
        ["/e.mp4", "/e.mp4#t=1,2"], ["/d.mp4#t=1,2"],
    ]  # fmt: skip
    assert [len(task) for task in tasks_of(rows(*films), 50)] == [50, 20]
    assert list(tasks_of([], 3)) == []


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> Callable[[StorageOptions], Decoder]:
    """Decoders outside of Ray."""
    place = SimpleNamespace(working=contextlib.nullcontext)
    monkeypatch.setattr("actors.stages.Place", lambda *_, **__: place)
    monkeypatch.setattr("actors.stages.tell_layers", lambda *_: None)
    return lambda storage: Decoder(
        monitor=MagicMock(),
        plan=SamplingPlan(num_frames=1),
        limits=DecodeLimits(),
        storage=storage,
        places=Places(folders=(), opened=()),
        videos_per_row=4,
    )


def test_a_file_with_500_segments_is_opened_at_most_20_times(
    gateway: Any,
    gateway_bucket: str,
    fault_proxy: Callable[..., FaultProxy],
    decoders: Callable[[StorageOptions], Decoder],
    tmp_path: Path,
) -> None:
    """Whoever decodes them, and whatever is decoded between."""
    film = render(tmp_path / "film.mp4", count=RATE * SECONDS, gop=10)
    for name in ("film", "other"):
        gateway.client().upload_file(str(film), gateway_bucket, f"{name}.mp4")
    proxy = fault_proxy(gateway.endpoint_url)
    chance = random.Random(1)
    begins = [round(chance.uniform(0, SECONDS - 1), 2) for _ in range(500)]
    place = f"s3://{gateway_bucket}"
    films = rows(*(f"{place}/film.mp4#t={begin},{begin + 1:.2f}" for begin in begins))
    others = rows(*(f"{place}/other.mp4#t={begin},{begin + 1:.2f}" for begin in begins[:17]))
    # Two decoders of many, each with another file between two tasks.
    several = [decoders(StorageOptions(endpoint_url=proxy.endpoint_url)) for _ in range(2)]
    seen: dict[str, int] = {}
    for number, task in enumerate(tasks_of(films, 4)):
        for row in (task, others[number : number + 1]):
            for made in several[number % 2](packed(undecoded_table(row))):
                (table,) = unpacked(made)
                assert table.num_rows <= 4
                for at, uri in enumerate(table["uri"].to_pylist()):
                    seen[uri] = number_of(video_of(table, at).frames[0])
    for row, begin in zip(films, begins, strict=True):
        assert abs(seen[row["uri"]] - RATE * begin) <= 1
    asked = [each for each in proxy.requests if "film.mp4" in each.target]
    assert sum(each.method == "HEAD" for each in asked) <= 20
    # Each open costs the index and some of the rest; most segments then cost nothing.
    assert len(asked) < 100
    for each in several:
        each._sandbox.close()


@pytest.mark.parametrize(
    ("plan", "in_flight", "share", "videos", "at_hand"),
    [
        (SHORT, 320, 100_000, 64, 25),
        (None, 320, 100_000, 64, 25),
        # Not more than 256 MB in a task and 16 GB in all of an engine's.
        (CLIP, 320, 100_000, 23, 64),
        (CLIP, 80, 100_000, 23, 20),
        (LARGE, 80, 100_000, 1, 80),
        # The engine has several tasks at once.
        (SHORT, 80, 100_000, 40, 10),
        (SHORT, 1, 100_000, 1, 1),
        # Nobody knows how much is decoded of each.
        (HOUR, 80, 100_000, 4, 40),
        (HOUR, 20, 100_000, 1, 20),
        # In a small run every actor has its share.
        (SHORT, 320, 160, 10, 33),
        (SHORT, 80, 160, 10, 16),
        (SHORT, 320, 3, 1, 320),
    ],
)
def test_tasks_are_as_large_as_they_may_be(
    plan: SamplingPlan | None, in_flight: int, share: int, videos: int, at_hand: int
) -> None:
    tasks = Tasks.of(plan, in_flight=in_flight, share=share)
    assert (tasks.videos, tasks.at_hand) == (videos, at_hand)
    assert tasks.videos * tasks.busy >= in_flight
