"""The two callables of the graph: decode a video, caption a video.

Each takes and returns Arrow tables and turns every error of a video into a row, so that
a bad video never costs another one.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray

from actors.confinement.sandbox import DecodeSandbox
from actors.engine.loading import EngineSettings
from actors.engine.remote_engine import RemoteSettings
from actors.engine.stats import EngineStats
from actors.flights import Flights
from actors.gate import Gate
from actors.metrics import CaptionMetrics, DecodeMetrics
from actors.monitor import Standing
from actors.replica import BEAT_SECONDS, Replica
from actors.room import Place
from actors.storage.places import Places
from actors.storage.segments import segment_begin, segment_of
from actors.storage.uris import file_of, public_uri
from actors.tuning import Load, videos_in_flight
from schemas.blocks import DECODED, INPUTS, decoded_table, packed, unpacked, video_of
from schemas.budget import Budget
from schemas.errors import (
    Cause,
    DecoderCrashedError,
    EngineCrashedError,
    EngineDiedError,
    IncompleteError,
    SegmentError,
    UsageError,
    VideoError,
)
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from schemas.recipe import Recipe, Video
from schemas.tables import FAILURES, RESULTS, CaptionRow, FailureRow, results_table

logger = logging.getLogger(__name__)

_GRACE_SECONDS = 3.0

_IN_FLIGHT_BYTES = 4 << 30
"""Decoded, of all videos that an engine works on at once. Prepared for the model they take one to
three times as much again."""

_PROGRESS_SECONDS = 5.0
"""Between two signs of a decoder that a task of many videos goes on."""


def failure_of(row: dict[str, Any], error: BaseException, *, stage: str) -> FailureRow:
    """The failure row for an error.

    Args:
        row: the columns of ``schemas.blocks.INPUTS``, and the ``warnings`` of a decoded video.
    """
    message, warnings = str(error) or repr(error), row.get("warnings")
    if isinstance(error, VideoError):
        stage = error.stage
        warnings = warnings if error.warnings is None else list(error.warnings)
    else:
        message = f"unforeseen {type(error).__name__}: {message}"
    cause, attempts = Cause.of(error), row["attempts"] + 1
    return FailureRow(
        video_id=row["video_id"],
        uri=public_uri(row["uri"]),
        stage=stage,
        error=type(error).__name__,
        message=message,
        cause=cause.value,
        transient=cause.is_tried_again(attempts),
        attempts=attempts,
        metadata=row["metadata"],
        source_version=row["source_version"],
        warnings=warnings,
        **_segment_columns(row["uri"]),
    )


def _segment_columns(uri: str) -> dict[str, Any]:
    """The columns of both tables that say which segment an input is."""
    try:
        segment = segment_of(uri)
    except SegmentError:
        segment = None
    if segment is None:
        return {}
    return {"segment_start_sec": segment.begin, "segment_end_sec": segment.end}


def on_the_clock(row: CaptionRow) -> CaptionRow:
    """A caption of an input with the input's segment, which the recipe saw as a video of its own,
    on the clock of the whole video.
    """
    columns, begin = _segment_columns(row.uri), segment_begin(row.uri)
    for name in ("start_sec", "end_sec") if begin else ():
        time = getattr(row, name)
        columns[name] = None if time is None else begin + time
    return replace(row, **columns)


def tell_layers(sandbox: DecodeSandbox, monitor: Any) -> None:
    """Tell the monitor what the decoding process is not confined by."""
    if refused := {name: why for name, why in sandbox.layers().items() if why}:
        monitor.miss_layers.remote(refused)


def decoded_row(sandbox: DecodeSandbox, uri: str, plan: SamplingPlan) -> pa.RecordBatch:
    """Decode as :meth:`DecodeSandbox.decode`; once more where the decoding process died."""
    try:
        return sandbox.decode(uri, plan)
    except DecoderCrashedError as error:
        if not error.died:
            raise
    # When a machine goes down its processes die one after the other. If this one is next,
    # the video is decoded elsewhere, and must not be blamed meanwhile.
    time.sleep(_GRACE_SECONDS)
    return sandbox.decode(uri, plan)


class Decoder:
    """Ray Data callable: fills in what ``schemas.blocks.INPUTS`` lacks of
    ``schemas.blocks.DECODED``; both packed.

    Args:
        monitor: handle of an :class:`actors.monitor.Monitor`, which is told now and then how many
            videos are through, and once what the decoding process is not confined by.
        cpu_kind: as in :class:`actors.room.Place`: the resource that only nodes for decoders have.
        videos_per_row: how many are handed on together, at most.
    """

    def __init__(
        self,
        *,
        monitor: Any,
        plan: SamplingPlan,
        limits: DecodeLimits,
        storage: StorageOptions,
        places: Places,
        cpu_kind: str = "",
        videos_per_row: int = 1,
        budget: Budget | None = None,
    ) -> None:
        self._monitor = monitor
        self._told_layers = False
        self._untold, self._told_at = 0, time.monotonic()
        self._videos_per_row = videos_per_row
        self._place = Place(monitor, kind=cpu_kind)
        self._plan = plan
        self._places = places
        self._sandbox = DecodeSandbox(limits, storage, budget)
        self._metrics = DecodeMetrics()

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Decode the inputs of the batch; each row holds the next few of them."""
        inputs = [row for table in unpacked(batch) for row in table.to_pylist()]
        for first in range(0, len(inputs), self._videos_per_row):
            few = inputs[first : first + self._videos_per_row]
            with self._place.working():
                decoded = [decoded_table(row, self._decode(row)) for row in few]
            yield packed(pa.concat_tables(decoded))

    def _decode(self, row: dict[str, Any]) -> pa.RecordBatch | FailureRow:
        started = time.monotonic()
        outcome = self._attempt(row)
        ended = time.monotonic()
        self._metrics.finished(outcome, seconds=ended - started)
        self._untold += 1
        if ended - self._told_at > _PROGRESS_SECONDS:
            self._monitor.decoded.remote(self._untold)
            self._untold, self._told_at = 0, ended
        return outcome

    def _attempt(self, row: dict[str, Any]) -> pa.RecordBatch | FailureRow:
        try:
            self._places.check(file_of(row["uri"]))
            decoded = decoded_row(self._sandbox, row["uri"], self._plan)
        except Exception as error:
            if not isinstance(error, VideoError):
                logger.exception("unforeseen error while decoding %r", row["video_id"])
            return failure_of(row, error, stage="decode")
        if not self._told_layers:
            tell_layers(self._sandbox, self._monitor)
        self._told_layers = True
        return decoded


class Captioner:
    """Ray Data callable: ``schemas.blocks.DECODED`` -> ``schemas.tables.RESULTS``, both packed.

    Asynchronous: Ray Data runs many calls at once on the actor, and the engine batches
    the requests of all of them.

    Args:
        patience: as of :class:`actors.replica.Replica`.
        in_flight: videos that the engine works on at once; more wait for their turn.
        follows_queue: that number is the first one, and follows the engine's own queue.
    """

    def __init__(
        self,
        *,
        recipe: Recipe,
        settings: EngineSettings | RemoteSettings,
        monitor: Any,
        patience: float,
        in_flight: int,
        follows_queue: bool,
    ) -> None:
        self._recipe = recipe
        self._monitor = monitor
        self._engine_id = uuid.uuid4().hex[:8]
        self._monitor.start.remote(self._engine_id)
        try:
            self._replica = Replica(settings, patience=patience)
        except UsageError as error:
            # Told at once: what the driver gets of an actor that does not start is a traceback.
            ray.get(monitor.refuse.remote(str(error)))
            raise
        self._place = Place(monitor, kind="")
        self._metrics = CaptionMetrics(recipe=recipe.name, capacity=settings.max_num_seqs)
        self._gate = Gate(in_flight, most_bytes=_IN_FLIGHT_BYTES)
        self._follows_queue = follows_queue
        self._max_num_seqs = settings.max_num_seqs
        self._flights = Flights(
            monitor,
            engine_id=self._engine_id,
            node_id=ray.get_runtime_context().get_node_id(),
        )
        self._reporter: asyncio.Task[None] | None = None
        # Ready, also where no video ever comes.
        self._monitor.report.remote(self._engine_id, self._stats())

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """Caption each decoded video of the batch; returns one row with all results."""
        batch = pa.concat_tables(unpacked(batch)) if batch.num_rows else DECODED.empty_table()
        if self._reporter is None:  # it belongs to the event loop that runs the calls
            self._reporter = asyncio.create_task(self._report())
        ids: list[str] = batch["video_id"].to_pylist()
        # A file had to be read to be found broken.
        readable = sum(
            failure is None or failure["cause"] == Cause.DATA.value
            for failure in batch["failure"].to_pylist()
        )
        with self._place.working():
            standings: list[Standing] = await self._monitor.receive.remote(ids, readable=readable)
            tables = await asyncio.gather(
                *(self._row(batch, index, standing) for index, standing in enumerate(standings))
            )
            # Awaited, so that the counters are there before the driver has the last result.
            await self._monitor.report.remote(self._engine_id, self._stats())
        # In one piece: the driver, which has the results of all engines, is five times as fast.
        return packed(pa.concat_tables(tables or [RESULTS.empty_table()]).combine_chunks())

    async def _row(self, batch: pa.Table, index: int, standing: Standing) -> pa.Table:
        row = {name: batch[name][index].as_py() for name in (*INPUTS.names, "warnings", "failure")}
        failure: dict[str, Any] | None = row.pop("failure")
        rows: Sequence[CaptionRow] = ()
        failures: list[FailureRow] = []
        if failure is not None:
            failures = [FailureRow(**{name: failure[name] for name in FAILURES.names})]
        else:
            try:
                rows = await self._caption(batch, index, row, standing)
            except IncompleteError as error:
                rows, failures = error.rows, [failure_of(row, error, stage="caption")]
            except Exception as error:
                if not isinstance(error, VideoError):
                    logger.exception("unforeseen error while captioning %r", row["video_id"])
                failures = [failure_of(row, error, stage="caption")]
        rows = [on_the_clock(each) for each in rows]
        self._metrics.finished(rows, failures)
        return results_table(row["video_id"], captions=rows, failures=failures)

    async def _caption(
        self, batch: pa.Table, index: int, row: dict[str, Any], standing: Standing
    ) -> Sequence[CaptionRow]:
        if standing.guilt is not None:
            raise EngineCrashedError(standing.guilt)
        alone = standing.is_suspect
        size = sum(
            batch[name][index].as_buffer().size
            for name in ("frames", "audio")
            if batch[name][index].is_valid
        )
        async with self._gate.enter(alone=alone, size=size):
            # Counted only now: a suspect that waits for its turn is not to blame.
            await self._flights.begin(row["video_id"], alone=alone)
            video = Video(
                video_id=row["video_id"],
                uri=public_uri(row["uri"]),
                metadata=row["metadata"],
                decoded=video_of(batch, index) if batch["info"][index].is_valid else None,
                material=row["material"],
                source_version=row["source_version"],
            )
            try:
                return await self._recipe.caption(video, self._replica.engine)
            except EngineDiedError as error:
                self._replica.start_again(error)
            finally:
                self._flights.end(row["video_id"])

    async def _report(self) -> None:
        while True:
            self._replica.beat()
            stats = self._stats()
            self._tune(stats)
            self._monitor.report.remote(self._engine_id, stats)
            await asyncio.sleep(BEAT_SECONDS)

    def _tune(self, stats: EngineStats) -> None:
        """Let more videos be in flight, or fewer, by what the engine has."""
        load = Load(
            batched=stats.running - stats.queued,
            queued=stats.queued,
            preparing=stats.waiting,
            kv_use=stats.kv_use,
            max_num_seqs=self._max_num_seqs,
            videos=self._gate.inside,
            outside=self._gate.outside,
        )
        places, rule = videos_in_flight(load, places=self._gate.places)
        if self._follows_queue:
            self._gate.places = places
        self._metrics.in_flight(load, places=self._gate.places, rule=rule)

    def _stats(self) -> EngineStats:
        stats = self._replica.stats()
        self._metrics.engine(stats)
        return stats
