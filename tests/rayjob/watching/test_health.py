"""When a run stops early, and which failures reach the tables."""

from __future__ import annotations

import pyarrow as pa
import pytest

from actors.engine.stats import EngineStats
from actors.monitor import Snapshot
from actors.stages import failure_of
from rayjob.watching.health import (
    Quarantine,
    Vitals,
    reason_to_stop,
    silent_limit,
    where_it_stands,
)
from schemas.config import HealthConfig
from schemas.errors import (
    AccessDeniedError,
    CorruptMediaError,
    CredentialsError,
    DecodeTimeoutError,
    NoSuchPlaceError,
    NotFoundError,
    RequestRejectedError,
    StorageUnavailableError,
)
from schemas.tables import results_table
from tests.support.outputs import caption

HEALTH = HealthConfig(failures_in_a_row=3)


def failed(video_id: str, error: Exception, *, attempts: int = 0) -> pa.Table:
    row = {"video_id": video_id, "uri": f"/in/{video_id}", "attempts": attempts}
    failure = failure_of(row | {"metadata": None, "source_version": None}, error, stage="decode")
    return results_table(video_id, failures=[failure])


def captioned(video_id: str) -> pa.Table:
    return results_table(video_id, captions=[caption(video_id)])


def ids(table: pa.Table) -> list[str]:
    found: list[str] = table.column("video_id").to_pylist()
    return found


def verdict(quarantine: Quarantine, snapshot: Snapshot) -> str | None:
    return reason_to_stop(Vitals(snapshot=snapshot, streaks=quarantine.streaks), HEALTH)


@pytest.mark.parametrize(
    "error",
    [
        AccessDeniedError("HTTP 403"),
        CredentialsError("expired"),
        StorageUnavailableError("no such host"),
        DecodeTimeoutError("not decoded within 300 s"),
        NoSuchPlaceError("no bucket"),
        RequestRejectedError("no"),
        RuntimeError("the decoding process does not start"),
    ],
)
def test_many_in_a_row_stop_the_run_and_reach_no_table(error: Exception) -> None:
    quarantine, seen = Quarantine(), Snapshot(received=3)
    written = [quarantine.admit(failed(f"v{n}", error, attempts=2)) for n in range(3)]
    assert [table.num_rows for table in written] == [0, 0, 0]
    assert not quarantine.look(seen).num_rows
    reason = verdict(quarantine, seen)
    assert reason is not None
    assert "3 videos in a row" in reason and type(error).__name__ in reason and "v2" in reason


def test_different_faults_of_one_storage_count_together() -> None:
    quarantine = Quarantine()
    for n, error in enumerate((StorageUnavailableError("503"), DecodeTimeoutError("slow"))):
        quarantine.admit(failed(f"a{n}", error))
        quarantine.admit(failed(f"b{n}", error))
    reason = verdict(quarantine, Snapshot())
    assert reason is not None
    assert "2 StorageUnavailableError, 2 DecodeTimeoutError" in reason


@pytest.mark.parametrize("error", [CorruptMediaError("x"), NotFoundError("no object")])
def test_broken_files_and_dead_links_never_stop_a_run(error: Exception) -> None:
    quarantine = Quarantine()
    table = pa.concat_tables([failed(f"v{n}", error) for n in range(50)])
    assert quarantine.admit(table).num_rows == 50
    assert verdict(quarantine, Snapshot()) is None


def test_something_that_can_be_read_speaks_for_the_storage() -> None:
    quarantine = Quarantine()
    for n in range(3):
        quarantine.admit(failed(f"v{n}", AccessDeniedError("403")))
    seen = Snapshot(received=4, readable=1)
    assert ids(quarantine.look(seen)) == ["v0", "v1", "v2"]
    assert verdict(quarantine, seen) is None
    # What was read before says nothing about now.
    for n in range(3):
        quarantine.admit(failed(f"w{n}", AccessDeniedError("403")))
    assert not quarantine.look(seen).num_rows
    assert verdict(quarantine, seen) is not None


def test_captions_of_what_was_read_before_say_nothing_about_the_storage() -> None:
    quarantine = Quarantine()
    for n in range(3):
        quarantine.admit(failed(f"v{n}", AccessDeniedError("403")))
        assert ids(quarantine.admit(captioned(f"c{n}"))) == [f"c{n}"]
    seen = Snapshot(engines=(EngineStats(pieces=3),))
    assert not quarantine.look(seen).num_rows
    assert verdict(quarantine, seen) is not None


def test_answers_speak_for_the_engine() -> None:
    quarantine = Quarantine()
    for n in range(3):
        quarantine.admit(failed(f"v{n}", RequestRejectedError("no")))
    seen = Snapshot(readable=3, engines=(EngineStats(pieces=1),))
    assert quarantine.look(seen).num_rows == 3
    assert verdict(quarantine, seen) is None


def test_what_is_held_is_written_at_the_end() -> None:
    quarantine = Quarantine()
    both = pa.concat_tables([captioned("a"), failed("b", AccessDeniedError("no"))])
    assert ids(quarantine.admit(both)) == ["a"]
    assert ids(quarantine.release()) == ["b"]
    assert not quarantine.release().num_rows


def test_never_where_it_is_switched_off() -> None:
    quarantine = Quarantine()
    for n in range(50):
        quarantine.admit(failed(f"v{n}", AccessDeniedError("no")))
    vitals = Vitals(snapshot=Snapshot(), streaks=quarantine.streaks)
    assert reason_to_stop(vitals, HealthConfig(failures_in_a_row=0)) is None


def test_a_run_that_stands_still_stops_unless_an_engine_is_on_its_way() -> None:
    still = Vitals(snapshot=Snapshot(), silent_sec=61, silent_limit=60)
    reason = reason_to_stop(still, HealthConfig())
    assert reason is not None and "nothing has moved for 61 s" in reason
    moving = Vitals(snapshot=Snapshot(), silent_sec=59, silent_limit=60)
    assert reason_to_stop(moving, HealthConfig()) is None
    loading = Vitals(snapshot=Snapshot(starting=(61.0,)), silent_sec=61, silent_limit=60)
    assert reason_to_stop(loading, HealthConfig()) is None
    assert reason_to_stop(loading, HealthConfig(start_sec=50)) is not None


def test_a_run_waits_longer_than_its_parts_may_take() -> None:
    assert silent_limit(HealthConfig(), decode_sec=300) == 1800
    assert silent_limit(HealthConfig(run_silent_sec=10), decode_sec=3600) == 7200
    assert silent_limit(HealthConfig(engine_silent_sec=2000), decode_sec=300) == 4000


def test_where_it_stands() -> None:
    engine = EngineStats(running=3, waiting=1, requests=7, silent_sec=200)
    seen = Snapshot(received=9, engines=(engine,), unheard=(1.0,), starting=(30.0,))
    assert list(where_it_stands(seen, todo=20, arrived=5)) == [
        "9 of 20 videos reached an engine, 5 came back",
        "engine: 3 running, 1 being prepared, 7 answered, 200 s without a sign, heard of 1 s ago",
        "engine: starting for 30 s",
    ]


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (Snapshot(received=50, deaths=4, deaths_in_a_row=4), None),
        (Snapshot(received=50, deaths=5, deaths_in_a_row=5, died_with="a.mp4"),
         "5 engines died in a row (health.engine_deaths_in_a_row: 5), the last one with a.mp4 "
         "in flight"),
        (Snapshot(received=100, deaths=10, deaths_in_a_row=1), None),
        (Snapshot(received=100, deaths=11, deaths_in_a_row=1, died_with="a.mp4"),
         "11 engines died for 100 videos (health.engine_death_share: 0.1), the last one with "
         "a.mp4 in flight"),
        (Snapshot(received=2, deaths=4, deaths_in_a_row=0), None),
    ],
)  # fmt: skip
def test_engines_that_die_again_and_again_stop_the_run(
    snapshot: Snapshot, reason: str | None
) -> None:
    config = HealthConfig(engine_deaths_in_a_row=5, engine_death_share=0.1)
    assert reason_to_stop(Vitals(snapshot=snapshot), config) == reason
