"""How many videos are in flight, by what the engine has."""

from __future__ import annotations

from typing import Any

import pytest

from actors.tuning import Load, Rule, videos_in_flight

BATCH = 64
USUAL: dict[str, Any] = {
    "batched": 64, "queued": 16, "preparing": 0, "kv_use": 0.5, "max_num_seqs": BATCH,
    "videos": 80, "outside": 100,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "places", "rule"),
    [
        ({}, 80, Rule.RESERVE),
        ({"batched": 40, "queued": 0, "preparing": 2}, 100, Rule.ROOM),
        ({"batched": 0, "queued": 0, "videos": 80}, 100, Rule.ROOM),
        # Chains with pauses: few requests of many videos.
        ({"batched": 30, "queued": 0, "videos": 80}, 100, Rule.ROOM),
        ({"batched": 40, "queued": 0, "outside": 0}, 80, Rule.NO_MORE),
        ({"batched": 40, "queued": 0, "videos": 30}, 80, Rule.HELD_BACK),
        ({"batched": 40, "queued": 2, "kv_use": 0.97}, 80, Rule.CACHE),
        ({"batched": 20, "queued": 0, "preparing": 60}, 80, Rule.PREPARATION),
        # The cache holds a third of the batch.
        ({"batched": 20, "queued": 60, "kv_use": 0.98}, 25, Rule.CROWDED),
        # Three requests of each video.
        ({"batched": 64, "queued": 176}, 27, Rule.CROWDED),
        # Prompts are still being read: the queue is long because they are.
        ({"batched": 4, "queued": 76, "kv_use": 0.1}, 80, Rule.RESERVE),
    ],
)
def test_each_rule(changes: dict[str, Any], places: int, rule: Rule) -> None:
    assert videos_in_flight(Load(**USUAL | changes), places=80) == (places, rule)


def settled(*, fits: int, requests: int = 1, prepared: int | None = None, start: int = 80) -> int:
    """Videos in flight in the end, of an engine whose cache holds ``fits`` requests of 64.

    Args:
        requests: of each video at once.
        prepared: requests at most that preparation brings into the engine at a time.
    """
    places = start
    for _ in range(60):
        asked = places * requests
        there = asked if prepared is None else min(asked, prepared)
        batched = min(there, fits, BATCH)
        load = Load(
            batched=batched,
            queued=there - batched,
            preparing=asked - there,
            kv_use=min(1.0, batched / fits),
            max_num_seqs=BATCH,
            videos=places,
            outside=1000,
        )
        places, _ = videos_in_flight(load, places=places)
    return places


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ({"fits": 200}, 80, 96),
        ({"fits": 20}, 22, 30),
        ({"fits": 200, "start": 4}, 80, 110),
        ({"fits": 200, "requests": 4}, 18, 24),
        ({"fits": 200, "prepared": 10}, 10, 80),
        ({"fits": 1}, 1, 3),
    ],
)
def test_it_comes_to_rest(given: dict[str, Any], least: int, most: int) -> None:
    assert least <= settled(**given) <= most
