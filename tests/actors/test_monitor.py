"""Which deaths of engines a video is blamed for."""

from actors.monitor import Monitor


def test_a_death_counts_until_the_video_is_through() -> None:
    monitor = Monitor(lost=set)
    assert monitor.receive(["a", "b"]) == [0, 0]
    monitor.begin("a", "node-1", "1")
    assert monitor.receive(["a", "b"]) == [1, 0]
    monitor.begin("a", "node-2", "2")
    assert monitor.receive(["b", "a"]) == [0, 2]
    monitor.end("a")
    assert monitor.receive(["a"]) == [0]


def test_an_engine_that_went_with_its_node_counts_for_nothing() -> None:
    gone: set[str] = set()
    monitor = Monitor(lost=lambda: gone)
    monitor.receive(["a", "b"])
    for video_id in ("a", "b"):
        monitor.begin(video_id, "spot-1", "1")
    gone.add("spot-1")
    assert monitor.receive(["a", "b"]) == [0, 0]
    # Again with a node, then with an engine alone: one death counts.
    monitor.begin("a", "spot-2", "2")
    gone.add("spot-2")
    assert monitor.receive(["a"]) == [0]
    monitor.begin("a", "spot-3", "3")
    assert monitor.receive(["a"]) == [1]


def test_a_video_is_received_once() -> None:
    monitor = Monitor(lost=lambda: {"spot"})
    monitor.receive(["a", "b"])
    monitor.begin("a", "spot", "1")
    monitor.receive(["a"])
    assert monitor.snapshot().received == 2


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


def test_a_lost_node_is_no_death() -> None:
    monitor = Monitor(lost=lambda: {"spot"})
    monitor.begin("a", "spot", "engine-1")
    # The second time it was not even begun.
    monitor.receive(["a"])
    monitor.receive(["a"])
    assert monitor.snapshot().deaths == 0
