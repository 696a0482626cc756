"""What an error of a video becomes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from actors.engine.stats import EngineStats
from actors.gate import Gate
from actors.metrics import CaptionMetrics
from actors.monitor import Standing
from actors.stages import Captioner, failure_of
from actors.storage.uris import public_uri
from schemas.blocks import INPUTS, decoded_table, packed, unpacked
from schemas.errors import (
    AccessDeniedError,
    CorruptMediaError,
    CredentialsError,
    NotFoundError,
)


def row(**changes: Any) -> dict[str, Any]:
    known = {"video_id": "a.mp4", "uri": "s3://b/a.mp4", "attempts": 0, "metadata": None}
    return known | {"source_version": None} | changes


@pytest.mark.parametrize(
    ("error", "attempts", "transient"),
    [
        (CorruptMediaError("broken"), 0, False),
        (CredentialsError("expired"), 7, True),
        # Nobody foresaw it: a few runs try, in case it lay in the machine.
        (RuntimeError("CUDA error: unspecified launch failure"), 0, True),
        (RuntimeError("again"), 1, True),
        (RuntimeError("and again"), 2, False),
    ],
)
def test_what_a_later_run_tries_again(error: Exception, attempts: int, transient: bool) -> None:
    failure = failure_of(row(attempts=attempts), error, stage="decode")
    assert failure.transient is transient
    assert failure.attempts == attempts + 1
    assert ("unforeseen" in failure.message) is isinstance(error, RuntimeError)


@pytest.mark.parametrize(
    ("uri", "stored"),
    [
        ("s3://b/what?#.mp4", "s3://b/what?#.mp4"),
        ("/data/a?b.mp4", "/data/a?b.mp4"),
        ("https://host/watch?v=12&t=3", "https://host/watch?v=12&t=3"),
        ("https://me:hushhush@host/a.mp4", "https://host/a.mp4"),
        ("https://b.s3.amazonaws.com/a.mp4?X-Amz-Expires=9&X-Amz-Signature=hushhush",
         "https://b.s3.amazonaws.com/a.mp4"),
        ("https://host/a.mp4?v=1&sig=hushhush", "https://host/a.mp4?v=1"),
        ("ftp://me:hushhush@host/a.mp4?v=1", "ftp://host/a.mp4?v=1"),
    ],
)  # fmt: skip
def test_a_table_holds_no_signature(uri: str, stored: str) -> None:
    assert public_uri(uri) == stored
    failure = failure_of(row(uri=uri), CorruptMediaError("broken"), stage="decode")
    assert failure.uri == stored


@pytest.mark.parametrize(
    "query",
    [
        *(f"{name}=hushhush" for name in (
            "sharekey", "auth", "hdnea", "access_token", "apikey", "key", "ACCESS_KEY", "",
            "t=3&%74oken", "v=1;secret",
        )),
        "hushhush",
        "v=1;hushhush",
    ],
)  # fmt: skip
def test_a_table_holds_no_secret_of_a_query(query: str) -> None:
    stored = public_uri(f"https://host/a.mp4?{query}")
    assert "hushhush" not in stored
    assert public_uri(stored) == stored


class Listening:
    """In place of the monitor's handle: keeps how many videos were readable."""

    def __init__(self) -> None:
        self.readable: list[int] = []

    def __getattr__(self, _: str) -> Listening:
        return self

    def remote(self, *given: Any, readable: int | None = None) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if readable is not None:
            self.readable.append(readable)
            done.set_result([Standing()] * len(given[0]))
        else:
            done.set_result(None)
        return done


def test_a_dead_link_does_not_show_that_others_can_be_read() -> None:
    errors = [CorruptMediaError("broken"), NotFoundError("gone"), AccessDeniedError("HTTP 403")]
    rows = [dict.fromkeys(INPUTS.names) | row(video_id=str(n)) for n in range(len(errors))]
    failures = [
        decoded_table(each, failure_of(each, error, stage="decode"))
        for each, error in zip(rows, errors, strict=True)
    ]
    captioner = Captioner.__new__(Captioner)
    monitor = captioner._monitor = Listening()
    captioner._engine_id, captioner._gate = "e", Gate()
    captioner._replica = SimpleNamespace(stats=EngineStats, beat=lambda: None)  # type: ignore[assignment]
    captioner._metrics = CaptionMetrics(recipe="r", capacity=1)
    results = asyncio.run(captioner(packed(pa.concat_tables(failures))))
    assert sum(table.num_rows for table in unpacked(results)) == 3
    assert monitor.readable == [1]
