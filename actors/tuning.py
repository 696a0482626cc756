"""How many videos an engine has in flight: by its own queue, and by no guess of its batch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_FULL = 0.9
"""Share of the KV cache from which further requests would only push others out."""

_RESERVE = 4
"""A part of the batch, one in so many, is to wait in the engine: what ends is followed at once."""

_GROWTH = 4
"""Growth by one in so many at a time."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What an engine has at a moment.

    Attributes:
        batched: requests in its batch.
        queued: requests that wait for a place in it.
        preparing: requests that are being prepared, or wait for it.
        kv_use: share of the KV cache in use, 0 to 1.
        max_num_seqs: requests that a batch holds.
        videos: in flight.
        outside: videos at hand that are not.
    """

    batched: int
    queued: int
    preparing: int
    kv_use: float
    max_num_seqs: int
    videos: int
    outside: int


class Rule(Enum):
    """Why there are to be more videos in flight, or fewer, or as many."""

    CROWDED = "crowded"
    """The engine is full, and more wait in it than will soon find a place: fewer."""
    NO_MORE = "no_more"
    """All videos at hand are in flight."""
    HELD_BACK = "held_back"
    """The next video is too large for the memory that is left, or is to be alone."""
    RESERVE = "reserve"
    """Enough wait in the engine."""
    CACHE = "cache"
    """The KV cache is full."""
    PREPARATION = "preparation"
    """Enough are being prepared: more would wait there."""
    ROOM = "room"
    """The engine has room, and too little is on its way: more."""


def videos_in_flight(load: Load, *, places: int) -> tuple[int, Rule]:
    """How many videos are to be in flight, and by which rule.

    Args:
        places: how many may be now.
    """
    reserve = max(1, load.batched // _RESERVE)
    is_full = load.kv_use >= _FULL or load.batched >= load.max_num_seqs
    if is_full and load.queued > 2 * reserve:
        requests = load.batched + load.queued + load.preparing
        # A video may have many requests in the engine, or none for a while.
        too_many = (load.queued - reserve) * load.videos // requests
        return max(1, min(places, load.videos) - too_many), Rule.CROWDED
    if not load.outside:
        return places, Rule.NO_MORE
    if load.videos < places:
        return places, Rule.HELD_BACK
    if load.queued >= reserve:
        return places, Rule.RESERVE
    if load.kv_use >= _FULL:
        return places, Rule.CACHE
    if load.preparing >= reserve:
        return places, Rule.PREPARATION
    return places + max(1, places // _GROWTH), Rule.ROOM
