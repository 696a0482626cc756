"""Which deaths of engines and nodes a video is blamed for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from actors.monitor import Monitor, Standing

FREE = Standing()


def test_a_death_counts_until_the_video_is_through() -> None:
    monitor = Monitor(lost=set)
    assert monitor.receive(["a", "b"]) == [FREE, FREE]
    monitor.begin("a", "node-1", "engine")
    assert monitor.receive(["a", "b"]) == [Standing(is_suspect=True), FREE]
    monitor.begin("a", "node-2", "engine", alone=True)
    b, a = monitor.receive(["b", "a"])
    assert b == FREE
    assert a.guilt is not None and "died 2 times" in a.guilt
    monitor.end("a")
    assert monitor.receive(["a"]) == [FREE]


def test_an_engine_that_went_with_its_node_counts_for_nothing() -> None:
    gone: set[str] = set()
    monitor = Monitor(lost=lambda: gone)
    monitor.receive(["a", "b"])
    for video_id in ("a", "b"):
        monitor.begin(video_id, "spot-1", "1")
    gone.add("spot-1")
    assert monitor.receive(["a", "b"]) == [FREE, FREE]
    # With an engine alone, then with a node: one death counts.
    monitor.begin("a", "spot-2", "engine")
    assert monitor.receive(["a"]) == [Standing(is_suspect=True)]
    monitor.begin("a", "spot-3", "engine", alone=True)
    gone.add("spot-3")
    assert monitor.receive(["a"]) == [Standing(is_suspect=True)]


def test_a_video_that_takes_its_node_down_is_blamed_after_a_few() -> None:
    gone: set[str] = set()
    monitor = Monitor(lost=lambda: gone)
    (standing,) = monitor.receive(["killer"])
    nodes = 0
    while standing.guilt is None and nodes < 20:
        node = f"node-{nodes}"
        monitor.begin("killer", node, "engine", alone=standing.is_suspect)
        gone.add(node)
        nodes += 1
        # Others are in flight beside it and go on elsewhere, where they are done.
        monitor.receive(["other"])
        monitor.begin("other", node, "engine")
        assert monitor.receive(["other"])[0].guilt is None
        monitor.end("other")
        (standing,) = monitor.receive(["killer"])
    assert nodes == 5
    assert standing.guilt is not None and "5 nodes were lost" in standing.guilt


def test_a_storm_of_lost_nodes_blames_nobody() -> None:
    """Not one node lives long enough for one video, in twenty rounds over eight nodes."""
    gone: set[str] = set()
    monitor = Monitor(lost=lambda: gone)
    videos = [f"video-{number}" for number in range(64)]
    numbers = count()
    for _ in range(20):
        nodes = [f"spot-{next(numbers)}" for _ in range(8)]
        for index, node in enumerate(nodes):
            share = videos[index::8]
            standings = monitor.receive(share)
            assert all(standing.guilt is None for standing in standings)
            # A suspect that comes first keeps the others out.
            for video_id, standing in zip(share, standings, strict=True):
                monitor.begin(video_id, node, "engine", alone=standing.is_suspect)
                if standing.is_suspect:
                    break
        gone.update(nodes)


def test_layers_that_some_node_has_not_got_are_told() -> None:
    monitor = Monitor(lost=set)
    assert not monitor.snapshot().refused_layers
    monitor.miss_layers({"landlock": "Function not implemented"})
    monitor.miss_layers({"namespaces": "Operation not permitted"})
    assert list(monitor.snapshot().refused_layers) == ["landlock", "namespaces"]


def test_a_video_is_received_once() -> None:
    monitor = Monitor(lost=lambda: {"spot"})
    monitor.receive(["a", "b"], readable=1)
    monitor.begin("a", "spot", "engine")
    monitor.receive(["a"])
    snapshot = monitor.snapshot()
    assert (snapshot.received, snapshot.readable) == (2, 1)


def test_the_death_of_an_engine_counts_once_for_all_its_videos() -> None:
    monitor = Monitor(lost=set)
    for video_id in ("a", "b"):
        monitor.begin(video_id, "node", "engine-1")
    monitor.receive(["a", "b"])
    monitor.begin("a", "node", "engine-2")
    monitor.receive(["a", "b"])
    seen = monitor.snapshot()
    assert (seen.deaths, seen.deaths_in_a_row, seen.died_with) == (2, 2, "a")
    monitor.begin("b", "node", "engine-3")
    monitor.end("b")
    seen = monitor.snapshot()
    assert (seen.deaths, seen.deaths_in_a_row) == (2, 0)


def test_what_a_replica_tells_at_once_is_taken_in_its_order() -> None:
    monitor = Monitor(lost=set)
    monitor.fly("engine-1", "node", begun=[("a", False), ("b", False)], ended=[])
    monitor.receive(["a", "b"])
    assert monitor.snapshot().deaths_in_a_row == 1
    monitor.fly("engine-2", "node", begun=[("b", True)], ended=["a"])
    assert monitor.snapshot().deaths_in_a_row == 0
    a, b = monitor.receive(["a", "b"])
    assert a == FREE
    assert b.guilt is not None


def test_decoding_is_a_move() -> None:
    monitor = Monitor(lost=set)
    before = monitor.snapshot()
    monitor.decoded(3)
    assert monitor.snapshot().marks != before.marks


def test_a_lost_node_is_no_death() -> None:
    monitor = Monitor(lost=lambda: {"spot"})
    monitor.begin("a", "spot", "engine-1")
    # The second time it was not even begun.
    monitor.receive(["a"])
    monitor.receive(["a"])
    assert monitor.snapshot().deaths == 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [1000.0]
    monkeypatch.setattr("actors.monitor.time.monotonic", lambda: now[0])
    yield now


def test_idle_actors_leave_for_lost_ones_while_nothing_moves(clock: list[float]) -> None:
    gone: set[str] = set()
    monitor = Monitor(lost=lambda: gone)
    for actor, node in {"a": "stays", "b": "stays", "c": "stays", "lost": "goes"}.items():
        monitor.take_place(actor, node, "")
    monitor.snapshot(silent_sec=100.0)
    assert not monitor.is_to_leave("a"), "nobody waits"
    gone.add("goes")
    monitor.snapshot(silent_sec=10.0)
    assert not monitor.is_to_leave("a"), "the run may still move"
    monitor.snapshot(silent_sec=100.0)
    assert monitor.is_to_leave("a")
    assert not monitor.is_to_leave("a"), "it has no place to leave"
    assert not monitor.is_to_leave("b"), "one place is enough for one"
    clock[0] += 100
    # "a" has its place again, and the lost one still waits.
    monitor.take_place("a", "stays", "")
    assert [monitor.is_to_leave(actor) for actor in "bca"] == [True, False, False]
    clock[0] += 100
    # Not only the lost one waits for long, "b" does too.
    assert [monitor.is_to_leave(actor) for actor in "ca"] == [True, True]
    clock[0] += 100
    for actor in ("lost", "a", "b", "c"):
        monitor.take_place(actor, "stays", "")
    assert not monitor.is_to_leave("a"), "all have found a place"


def test_an_engine_leaves_no_cpus_to_decoders_that_cannot_use_them(clock: list[float]) -> None:
    monitor = Monitor(lost=lambda: {"goes"})
    monitor.take_place("decoder", "goes", "decode")
    monitor.take_place("other", "stays", "decode")
    monitor.take_place("engine", "gpus", "")
    monitor.snapshot(silent_sec=100.0)
    assert not monitor.is_to_leave("engine")
    assert monitor.is_to_leave("other")


def test_a_refusal_is_told() -> None:
    monitor = Monitor(lost=set)
    assert monitor.snapshot().refusal is None
    monitor.refuse("the model does not hear")
    assert monitor.snapshot().refusal == "the model does not hear"
