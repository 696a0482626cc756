"""A run from start to end: plan, lock, manifest, graph, shards, summary."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import ray
import ray.exceptions
import yaml
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console
from rich.text import Text

from actors.monitor import Monitor, Snapshot
from rayjob import graph
from rayjob.capacity import cluster
from rayjob.capacity.pool import EnginePool
from rayjob.inputs.todo import ManifestInfo, unaccounted, write_manifest
from rayjob.output.lock import RunLock
from rayjob.output.shards import ShardSink
from rayjob.output.summary import (
    Cost,
    RunSummary,
    clear_success,
    exit_code,
    write_config,
    write_success,
    write_summary,
)
from rayjob.output.timeline import Timeline
from rayjob.prepare import Config, Prepared, prepare
from rayjob.progress import Progress, State
from rayjob.settings.redaction import shown_config
from schemas.errors import RayjobError, UsageError

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_MAX_WAITING_TABLES = 64
_GO_ON = "What was captioned is kept; run the same command again to go on"


def run(
    config: Config, *, console: Console, finish: Callable[[Prepared], None] | None = None
) -> int:
    """Do every input that is not done yet; print the summary as the last line of stdout.

    Args:
        finish: what else to write when every input is accounted for.

    Returns:
        the exit code, 0 or 3.

    Raises:
        UsageError: something is wrong before the first actor starts.
        OutputLockedError: another run holds the output.
        RayjobError: the run could not account for every input.
    """
    started, started_at = time.monotonic(), time.time()
    prepared = prepare(config)
    run_id = config.run_id or datetime.now(UTC).strftime("run-%Y%m%dT%H%M%SZ")
    with RunLock(prepared.store, run_id) as lock:
        prepared.ledger.reconcile(guard=lock.check)
        manifest = write_manifest(
            prepared.store,
            run_id,
            prepared.inputs(),
            prepared.ledger.load(retry_failed=config.retry_failed),
            attempts=prepared.ledger.attempts(),
            limit=config.limit,
            retake_changed=config.retake_changed,
        )
        _show_notes(manifest, console, retake_changed=config.retake_changed)
        pools = _pools(prepared) if manifest.todo else None
        clear_success(prepared.store, run_id)
        write_config(prepared.store, run_id, _config_yaml(prepared.config, run_id))
        sink = ShardSink(
            prepared.store,
            tables=prepared.tables,
            run_id=run_id,
            config=config.shards,
            lock=lock,
        )
        usage = _Usage()
        try:
            if pools is not None:
                usage = _work(
                    prepared, manifest, sink, pools, console, run_id=run_id, started_at=started_at
                )
            prepared.ledger.reconcile(guard=lock.check)
            _check_accounted(prepared, manifest, sink, run_id)
            lock.check()
            summary = _summary(run_id, manifest, sink, usage, config, time.monotonic() - started)
            write_summary(prepared.store, summary)
            write_success(prepared.store, run_id)
            if finish is not None:
                finish(prepared)
        except UsageError as error:
            # What was wrong came up midway: credentials that expired, a shard that was damaged.
            raise RayjobError(f"{error}. {_GO_ON}") from error
    print(summary.to_line(), flush=True)
    return exit_code(summary, max_failure_rate=config.max_failure_rate)


def _show_notes(manifest: ManifestInfo, console: Console, *, retake_changed: bool) -> None:
    notes = []
    if manifest.changed and not retake_changed:
        notes.append(
            f"{manifest.changed} inputs changed since they were captioned; "
            "--retake-changed takes them again"
        )
    if manifest.moved:
        notes.append(
            f"{manifest.moved} inputs are done under another uri, such as "
            f"{manifest.moved_example}; they are not captioned again"
        )
    for note in notes:
        console.print(Text.assemble(("note: ", "yellow"), note), soft_wrap=True)


def _check_accounted(
    prepared: Prepared, manifest: ManifestInfo, sink: ShardSink, run_id: str
) -> None:
    """Count the manifest against the tables; RayjobError where a video is in neither."""
    if not manifest.todo:
        return
    present = prepared.ledger.present()
    missing = unaccounted(prepared.store, run_id, seen=sink.seen, present=present)
    if missing.count:
        raise RayjobError(
            f"{missing.count} of {manifest.todo} videos reached neither table, such as "
            f"{', '.join(missing.examples)}; run the same command again to do them"
        )


@dataclass(frozen=True, kw_only=True)
class _Pools:
    """The actors of a run; ``decode`` is None for a recipe that works on earlier captions."""

    engines: EnginePool
    decode: graph.DecodePool | None


def _pools(prepared: Prepared) -> _Pools:
    """Connect to Ray and see what fits; ConfigError where the run does not."""
    resources = cluster.connect()
    engines = prepared.engines(resources)
    return _Pools(engines=engines, decode=prepared.decoders(resources, engines))


@dataclass(frozen=True, kw_only=True)
class _Usage:
    """What the engines did in a run.

    Attributes:
        busy_fraction: None where no engine started.
        mean_running: requests in an engine while it was busy, None where none was.
        gpu_sec: GPUs of the whole pool times the time from asking for it to its end; 0 where
            the engines ran on CPUs.
        startup_sec: from the start of the run until the first engine was ready.
    """

    busy_fraction: float | None = None
    mean_running: float | None = None
    gpu_sec: float = 0.0
    startup_sec: float = 0.0


def _work(
    prepared: Prepared,
    manifest: ManifestInfo,
    sink: ShardSink,
    pools: _Pools,
    console: Console,
    *,
    run_id: str,
    started_at: float,
) -> _Usage:
    """Run the graph and write what comes out of it."""
    began = time.monotonic()
    gpus = pools.engines.total_gpus if pools.engines.settings.on_gpu else 0.0
    logger.info("%d videos to do, with %s", manifest.todo, pools.engines.describe())
    # No CPU of its own, so that it always finds a place; and on the driver's node, so that
    # what it knows outlives any worker node.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(Monitor)
    monitor = actor.options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()
    dataset = graph.caption_graph(
        manifest.row_groups(),
        prepared.store,
        recipe=prepared.recipe,
        pool=pools.engines,
        decode=pools.decode,
        monitor=monitor,
    )
    snapshot = Snapshot(received=0, engines={})
    timeline = Timeline(prepared.store, run_id)
    try:
        with Progress(console) as progress:
            for table in _arriving(graph.results(dataset)):
                if table is None:
                    sink.tick()
                    snapshot = ray.get(monitor.snapshot.remote())
                    state = _state(manifest, sink, snapshot)
                    progress.update(state)
                    _record(timeline, state, sink)
                else:
                    sink.write(table)
            sink.tick()
            snapshot = ray.get(monitor.snapshot.remote())
            state = _state(manifest, sink, snapshot)
            progress.update(state)
            _record(timeline, state, sink)
    except ray.exceptions.RayError as error:
        logger.error("the graph failed", exc_info=error)
        raise RayjobError(f"the run stopped: {_cause(error)}. {_GO_ON}") from error
    finally:
        # Also after an interruption: what is captioned is kept.
        sink.close()
        timeline.close()
        ray.kill(monitor)
    ready = [counters["started_at"] for counters in snapshot.engines.values()]
    return _Usage(
        busy_fraction=busy_fraction(snapshot.engines.values()),
        mean_running=_mean_running(snapshot.engines.values()),
        gpu_sec=gpus * (time.monotonic() - began),
        startup_sec=max(0.0, min(ready) - started_at) if ready else 0.0,
    )


def _cause(error: BaseException) -> str:
    """The innermost message: Ray wraps an error of a worker several times."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    # What pydantic ends its errors with.
    lines = [line for line in lines if not line.startswith("For further information")]
    return lines[-1] if lines else type(error).__name__


def _arriving(tables: Iterator[pa.Table]) -> Iterator[pa.Table | None]:
    """The tables as they come, and None about twice a second in between."""
    arrived: queue.Queue[pa.Table | BaseException | None] = queue.Queue(_MAX_WAITING_TABLES)

    def pull() -> None:
        try:
            for table in tables:
                arrived.put(table)
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    threading.Thread(target=pull, name="results", daemon=True).start()
    due = time.monotonic() + _POLL_SECONDS
    while True:
        try:
            item = arrived.get(timeout=max(0.01, due - time.monotonic()))
        except queue.Empty:
            item = pa.table({})
        if item is None:
            return
        if isinstance(item, BaseException):
            raise item
        if item.num_columns:
            yield item
        if time.monotonic() >= due:
            due = time.monotonic() + _POLL_SECONDS
            yield None


def busy_fraction(engines: Iterable[dict[str, float]]) -> float | None:
    """Share of the time after start-up with at least one request running, over all engines."""
    busy = alive = 0.0
    for counters in engines:
        busy += counters["busy_sec"]
        alive += counters["reported_at"] - counters["started_at"]
    return min(1.0, busy / alive) if alive > 0 else None


def _mean_running(engines: Collection[dict[str, float]]) -> float | None:
    busy = sum(counters["busy_sec"] for counters in engines)
    return sum(counters["running_sec"] for counters in engines) / busy if busy else None


def _state(manifest: ManifestInfo, sink: ShardSink, snapshot: Snapshot) -> State:
    counts = sink.counts
    return State(
        todo=manifest.todo,
        # After a crash a replica receives some videos again.
        decoded=min(snapshot.received, manifest.todo),
        captioned=counts.videos_captioned,
        failed=counts.videos_failed,
        written=counts.captions,
        running=int(sum(counters["running"] for counters in snapshot.engines.values())),
        engines=len(snapshot.engines),
    )


def _record(timeline: Timeline, state: State, sink: ShardSink) -> None:
    timeline.record(
        decoded=state.decoded,
        captioned=state.captioned,
        failed=state.failed,
        running=state.running,
        engines=state.engines,
        output_tokens=sink.counts.output_tokens,
    )


def _summary(
    run_id: str,
    manifest: ManifestInfo,
    sink: ShardSink,
    usage: _Usage,
    config: Config,
    wall_sec: float,
) -> RunSummary:
    counts = sink.counts
    return RunSummary(
        run_id=run_id,
        videos_in=manifest.total,
        videos_captioned=counts.videos_captioned,
        videos_failed=counts.videos_failed,
        videos_skipped=manifest.skipped,
        videos_retried=manifest.retried,
        videos_changed=manifest.changed,
        videos_gone=manifest.gone,
        videos_moved=manifest.moved,
        captions=counts.captions,
        wall_sec=wall_sec,
        startup_sec=usage.startup_sec,
        videos_per_sec=counts.videos_captioned / wall_sec,
        video_hours_per_hour=counts.video_sec / wall_sec,
        prompt_tokens=counts.prompt_tokens,
        output_tokens=counts.output_tokens,
        engine_busy_fraction=usage.busy_fraction,
        engine_mean_running=usage.mean_running,
        failures_by_error=dict(counts.failures_by_error.most_common()),
        cost=Cost.of(gpu_sec=usage.gpu_sec, price_per_gpu_hour=config.price_per_gpu_hour),
    )


def _config_yaml(config: Config, run_id: str) -> str:
    data: dict[str, Any] = shown_config(config.model_dump(mode="json")) | {"run_id": run_id}
    text: str = yaml.safe_dump(data, sort_keys=False)
    return text
