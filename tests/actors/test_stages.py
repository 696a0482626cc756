"""What an error of a video becomes."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from actors.engine.stats import EngineStats
from actors.gate import Gate
from actors.metrics import CaptionMetrics
from actors.monitor import Standing
from actors.stages import Captioner, failure_of, on_the_clock
from actors.storage.uris import public_uri
from schemas.blocks import INPUTS, decoded_table, packed, unpacked
from schemas.errors import (
    AccessDeniedError,
    CorruptMediaError,
    CredentialsError,
    NotFoundError,
)
from schemas.tables import CaptionRow


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


def loaded(*, follows_queue: bool) -> Captioner:
    """A captioner whose engine has room, and videos that wait for their turn."""
    captioner = Captioner.__new__(Captioner)
    captioner._gate = Gate(8, most_bytes=1)
    captioner._gate.inside, captioner._gate.outside = 8, 20
    captioner._metrics = CaptionMetrics(recipe="r", capacity=1)
    captioner._max_num_seqs, captioner._follows_queue = 64, follows_queue
    return captioner


@pytest.mark.parametrize(("follows_queue", "places"), [(True, 10), (False, 8)])
async def test_videos_in_flight_follow_the_queue(*, follows_queue: bool, places: int) -> None:
    captioner = loaded(follows_queue=follows_queue)
    captioner._tune(EngineStats(running=8))
    assert captioner._gate.places == places


def test_a_dead_link_does_not_show_that_others_can_be_read() -> None:
    errors = [CorruptMediaError("broken"), NotFoundError("gone"), AccessDeniedError("HTTP 403")]
    rows = [dict.fromkeys(INPUTS.names) | row(video_id=str(n)) for n in range(len(errors))]
    failures = [
        decoded_table(each, failure_of(each, error, stage="decode"))
        for each, error in zip(rows, errors, strict=True)
    ]
    captioner = Captioner.__new__(Captioner)
    monitor = captioner._monitor = Listening()
    captioner._engine_id, captioner._gate, captioner._reporter = "e", Gate(1, most_bytes=1), None
    captioner._replica = SimpleNamespace(stats=EngineStats, beat=lambda: None)  # type: ignore[assignment]
    captioner._place = SimpleNamespace(working=contextlib.nullcontext)  # type: ignore[assignment]
    captioner._metrics = CaptionMetrics(recipe="r", capacity=1)
    captioner._max_num_seqs, captioner._follows_queue = 1, True
    results = asyncio.run(captioner(packed(pa.concat_tables(failures))))
    assert sum(table.num_rows for table in unpacked(results)) == 3
    assert monitor.readable == [1]


@pytest.mark.parametrize(
    ("uri", "segment"),
    [
        ("s3://b/a.mp4", (None, None)),
        ("s3://b/a.mp4#t=12.5,20", (12.5, 20.0)),
        ("s3://b/a.mp4#t=12.5", (12.5, None)),
        # Not a span: what was written stands in the address and in the message.
        ("s3://b/a.mp4#t=20,10", (None, None)),
    ],
)
def test_a_failure_names_its_segment(uri: str, segment: tuple[float | None, float | None]) -> None:
    failure = failure_of(row(uri=uri), CorruptMediaError("broken"), stage="decode")
    assert failure.uri == uri
    assert (failure.segment_start_sec, failure.segment_end_sec) == segment


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://b/a.mp4", (2.0, 4.0, None, None)),
        ("s3://b/a.mp4#t=12.5,20", (14.5, 16.5, 12.5, 20.0)),
    ],
)
def test_captions_of_a_segment_are_on_the_clock_of_the_video(
    uri: str, expected: tuple[float | None, ...]
) -> None:
    caption = CaptionRow(
        video_id="a", uri=uri, level="clip", index=1, start_sec=2.0, end_sec=4.0, caption="c",
        caption_status="ok", attempts=1, prompt_tokens=1, output_tokens=1, duration_sec=7.5,
        fps=25.0, width=1, height=1, num_frames=1, has_audio=False, model="m",
        model_revision=None, prompt_hash="0" * 16, metadata=None,
    )  # fmt: skip
    told = on_the_clock(caption)
    times = (told.start_sec, told.end_sec, told.segment_start_sec, told.segment_end_sec)
    assert times == expected
