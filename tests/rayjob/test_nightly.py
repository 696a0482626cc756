"""Which id a night gets, and what its report says."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from rayjob.nightly import night_id, run
from rayjob.output.commits import Commit
from rayjob.output.layout import ResultTables
from rayjob.output.night_report import NightReport
from rayjob.output.shards import ShardSink
from rayjob.output.store import TableStore
from rayjob.output.summary import RunSummary, write_success, write_summary
from schemas.config import JobConfig, NightConfig, ShardConfig
from schemas.errors import OutputUnavailableError, UsageError
from tests.support.outputs import KINDS, NO_LOCK, failed, open_store

DAY = date(2026, 3, 9)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TableStore:
    return open_store(request.param, request, tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path / "out")


def finish(store: TableStore, run_id: str, **changes: object) -> None:
    values = {
        "run_id": run_id,
        "videos_in": 10,
        "videos_captioned": 4,
        "videos_failed": 1,
        "videos_skipped": 5,
        "captions": 4,
        "wall_sec": 61.0,
        "videos_per_sec": 0.07,
        "video_hours_per_hour": 1.0,
        "prompt_tokens": 1,
        "output_tokens": 1,
        "engine_busy_fraction": 0.9,
        "failures_by_error": {},
    }
    write_summary(store, RunSummary.model_validate({**values, **changes}))
    write_success(store, run_id, Commit(1, (), (), 0), guard=NO_LOCK.check)


def test_ids_of_nights(store: TableStore) -> None:
    assert night_id(store, "nightly", DAY) == "nightly-20260309"
    finish(store, "nightly-20260308")
    finish(store, "ugc-20260309")
    store.write_bytes("runs/nightly-20260309/config.yaml", b"")
    assert night_id(store, "nightly", DAY) == "nightly-20260309", "it crashed, and goes on"
    finish(store, "nightly-20260309")
    assert night_id(store, "nightly", DAY) == "nightly-20260309-2"
    finish(store, "nightly-20260309-2")
    store.write_bytes("runs/nightly-20260309-3/config.yaml", b"")
    assert night_id(store, "nightly", DAY) == "nightly-20260309-3"
    assert night_id(store, "ugc", DAY) == "ugc-20260309-2"


def test_a_name_with_a_date_is_refused(tmp_path: Path) -> None:
    config = NightConfig(input=("in",), output=str(tmp_path), run_id="ugc-20260309")
    with pytest.raises(UsageError, match="nightly adds it"):
        run(config, dry_run=True, console=None)  # type: ignore[arg-type]


def report(store: TableStore, run_id: str, error: OutputUnavailableError | None = None) -> str:
    config = JobConfig(input=("in",), output=store.url, run_id=run_id, retake_changed=True)
    page = NightReport(store, config, name="nightly")
    page.write(error=error)
    return store.read_bytes(f"runs/{run_id}/night.md").decode()


def test_the_report_tells_one_night_and_compares(local: TableStore) -> None:
    for number in range(2, 12):
        finish(local, f"nightly-20260301-{number}")
    finish(local, "nightly-20260302", videos_changed=2, videos_retried=1, videos_gone=3)
    finish(local, "nightly-20260303", videos_captioned=77)  # later than the night of interest
    finish(local, "other", videos_captioned=88)
    sink = ShardSink(
        local, tables=ResultTables.named("omni"), run_id="nightly-20260302",
        config=ShardConfig(), lock=NO_LOCK,
    )  # fmt: skip
    sink.write(failed(["a|b\x1b.mp4"], message="no\nvideo <b>", error="NotAVideoError"))
    sink.write(failed(["c.mp4"], error="StorageUnavailableError", transient=True))
    sink.close()
    text = report(local, "nightly-20260302")
    for line in (
        "# nightly-20260302",
        "| new | 2 |",
        "| changed, taken again | 2 |",
        "| failed before, tried again | 1 |",
        "| gone: in the tables, not in the inputs any more | 3 |",
        "| NotAVideoError | 1 |",
        "| StorageUnavailableError (tried again next night) | 1 |",
        r"| a\|b\\x1b.mp4 | NotAVideoError | no video \<b\> |",
        "| nightly-20260302 | 5 | 4 | 1 | 5 | 3 | 1:01 | 4.2 a minute | 90% |",
    ):
        assert line in text.splitlines()
    figures = text.replace(local.url, "")  # a path may have any digits in it
    assert "77" not in figures and "88" not in figures
    rows = [line for line in text.splitlines() if line.startswith(("| nightly-", "| other"))]
    nights = [row.split()[1] for row in rows]
    assert nights == ["nightly-20260302", *(f"nightly-20260301-{n}" for n in range(11, 5, -1))]


def test_the_report_of_a_night_that_did_not_finish(local: TableStore) -> None:
    finish(local, "nightly-20260301")
    text = report(local, "nightly-20260302", OutputUnavailableError("writing failed 9 times"))
    assert "did not finish" in text and "writing failed 9 times" in text
    assert "| nightly-20260301 |" in text
