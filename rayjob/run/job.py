"""A run from start to end: plan, lock, to-do list, graph, shards, summary."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import ray
import ray.exceptions
import yaml
from rich.console import Console
from rich.text import Text

from actors.engine.stats import busy_fraction, mean_running
from actors.guard import Guard
from actors.monitor import Monitor, Snapshot
from rayjob.capacity import cluster
from rayjob.counts import Counts, counted
from rayjob.exporting import after_run
from rayjob.exporting.card import write_output_card
from rayjob.inputs.todo import TodoList, discard_todo, unaccounted, write_todo
from rayjob.output.commits import Commit
from rayjob.output.lock import RunLock
from rayjob.output.shards import ShardSink
from rayjob.output.store import TableStore
from rayjob.output.summary import (
    RunSummary,
    clear_success,
    exit_code,
    write_config,
    write_success,
    write_summary,
)
from rayjob.output.timeline import Timeline
from rayjob.recipes.structured import Structured
from rayjob.run.arrivals import arriving
from rayjob.run.executors import Pools, results, shared_out
from rayjob.run.prepare import Prepared, prepare
from rayjob.run.splitting import prepare_split
from rayjob.run.work import Config, Work
from rayjob.settings.redaction import shown_config
from rayjob.settings.terminal import printable
from rayjob.watching.health import (
    Quarantine,
    Vitals,
    reason_to_stop,
    silent_limit,
    unconfined,
    where_it_stands,
)
from rayjob.watching.progress import Progress
from rayjob.watching.pulse import Pulse, dump
from schemas.config import FuseConfig
from schemas.errors import ModelError, RayjobError, UsageError
from schemas.splitting import SplitConfig

logger = logging.getLogger(__name__)

_GO_ON = "What was captioned is kept; run the same command again to go on"
_LAST_WORDS = (
    "error: the run's process was ended from outside: by a signal, by a system out of memory, or "
    f"by Ray when its raylet died. {_GO_ON}"
)


def run(config: Config, *, console: Console) -> int:
    """Do every input that is not done yet; print the summary as the last line of stdout.

    Returns:
        the exit code, 0 or 3.

    Raises:
        UsageError: something is wrong before the first actor starts.
        OutputLockedError: another run holds the output.
        RayjobError: the run could not account for every input.
    """
    began, started_at = time.monotonic(), time.time()
    prepared = prepare_split(config) if isinstance(config, SplitConfig) else prepare(config)
    run_id = config.run_id or datetime.now(UTC).strftime("run-%Y%m%dT%H%M%SZ")
    with contextlib.ExitStack() as stack:
        guard = stack.enter_context(Guard(last_words=_LAST_WORDS))
        pulse = Pulse(limit=_silent_limit(config), before_exit=guard.dismiss)
        lock = stack.enter_context(RunLock(prepared.store, run_id, is_alive=pulse.is_beating))
        stack.enter_context(_discarding_todo(prepared.store, lock))
        prepared.ledger.reconcile(lock)
        earlier = prepared.earlier()
        todo = write_todo(
            prepared.store,
            run_id,
            prepared.listed(),
            earlier,
            limit=config.limit,
            retake_changed=config.retake_changed,
        )
        for note in prepared.notes(earlier, todo):
            console.print(Text.assemble(("note: ", "yellow"), printable(note)), soft_wrap=True)
        pools = _pools(prepared) if todo.todo else None
        clear_success(prepared.store, run_id)
        write_config(prepared.store, run_id, _config_yaml(prepared.config, run_id))
        sink = ShardSink(
            prepared.store,
            tables=prepared.tables,
            run_id=run_id,
            config=config.shards,
            lock=lock,
            settings_hash=prepared.settings_hash,
        )
        snapshot, gpu_sec = Snapshot(), 0.0
        try:
            if pools is not None:
                with pulse:
                    snapshot, gpu_sec = _work(
                        prepared, todo, sink, pools, console, pulse, run_id=run_id
                    )
            lock.advance()
            counting = prepared.ledger.reconcile(lock)
            _check_accounted(prepared, todo, sink, run_id, counting)
            lock.check()
            summary = _summary(
                run_id, todo, sink.counts, snapshot, prepared, gpu_sec=gpu_sec,
                wall_sec=time.monotonic() - began, started_at=started_at,
            )  # fmt: skip
            write_summary(prepared.store, summary)
            write_success(prepared.store, run_id, counting, guard=lock.check)
            if todo.todo:
                write_output_card(prepared.store)
            if isinstance(prepared, Prepared):
                export(prepared)
        except ModelError:
            raise  # by the engines, before they did anything
        except UsageError as error:
            # What was wrong came up midway: credentials that expired, a shard that was damaged.
            raise RayjobError(f"{error}. {_GO_ON}") from error
    print(summary.to_line(), flush=True)
    return exit_code(summary, max_failure_rate=config.max_failure_rate)


def export(prepared: Prepared) -> None:
    """Write the files for others' tools that the configuration asks for.

    Raises:
        UsageError, OutputUnavailableError: as :func:`rayjob.exporting.after_run.write_csv`; or the
            inputs cannot be listed any more.
    """
    config, recipe, name = prepared.config, prepared.recipe, prepared.name
    if config.csv:
        if isinstance(config, FuseConfig):
            file, column = f"{name}_fusion_caption.csv", f"{recipe.name}_fusion_caption"
        else:
            file = f"{name}.csv"
            column = "structural_caption" if isinstance(recipe, Structured) else "caption"
        inputs = ((each.video_id, each.row) for each in prepared.inputs())
        after_run.write_csv(prepared.store, prepared.tables, file, inputs=inputs, column=column)
    if config.export_jsonl:
        after_run.write_jsonl(
            prepared.store, prepared.tables, name, reward_words=config.reward_words
        )


@contextlib.contextmanager
def _discarding_todo(store: TableStore, lock: RunLock) -> Iterator[None]:
    """Delete the to-do list at the end, however the run ends: it may hold secrets."""
    try:
        yield
    finally:
        try:
            lock.check()
            discard_todo(store)
        except (RayjobError, OSError) as error:
            logger.warning("the next run deletes the to-do list of this one: %s", error)


def _check_accounted(
    prepared: Work, todo: TodoList, sink: ShardSink, run_id: str, counting: Commit
) -> None:
    """Count the to-do list against the tables; RayjobError where a video is in neither."""
    if not todo.todo:
        return
    present = prepared.ledger.present(counting)
    missing = unaccounted(prepared.store, run_id, seen=sink.seen, present=present)
    if missing.count:
        raise RayjobError(
            f"{missing.count} of {counted(todo.todo, 'video')} reached neither table, such as "
            f"{', '.join(missing.examples)}; run the same command again to do them"
        )


def _pools(prepared: Work) -> Pools:
    """Connect to Ray and see what fits; ConfigError where the run does not."""
    resources = cluster.connect()
    engines = prepared.engines(resources)
    return engines, prepared.decoders(resources, engines)


def _work(
    prepared: Work,
    todo: TodoList,
    sink: ShardSink,
    pools: Pools,
    console: Console,
    pulse: Pulse,
    *,
    run_id: str,
) -> tuple[Snapshot, float]:
    """Run the graph and write what comes out of it.

    Raises:
        ModelError: an engine cannot work with the model.
        RayjobError: the graph failed, or a rule of :mod:`rayjob.watching.health` wants the run
            to stop.

    Returns:
        what the engines counted; GPUs of the whole pool times the seconds from asking
        for it to its end, 0 where the engines ran on CPUs.
    """
    began = time.monotonic()
    pool, _ = pools
    health = prepared.config.health
    gpus = pool.total_gpus if pool is not None and pool.settings.on_gpu else 0.0
    logger.info("%s to do, with %s", counted(todo.todo, "video"), prepared.describe(*pools))
    # No CPU of its own, so that it always finds a place; and on the driver's node, so that
    # what it knows outlives any worker node.
    monitor = cluster.beside_driver(Monitor, max_restarts=-1)
    shares = shared_out(pools, prepared.config.executors, videos=todo.todo)
    graphs = [
        prepared.graph(portions, *share, monitor=monitor)
        for portions, share in zip(todo.shared_out(len(shares)), shares, strict=True)
        if portions
    ]
    snapshot, arrived, silent_sec = Snapshot(), 0, 0.0
    quarantine = Quarantine()
    timeline = Timeline(prepared.store, run_id)
    try:
        with (
            Progress(console, todo=todo.todo, engines=pool is not None) as progress,
            contextlib.closing(arriving(prepared.marked(results(graphs)))) as arrivals,
        ):
            for arrival in arrivals:
                if isinstance(arrival, pa.Table):
                    arrived += arrival.num_rows
                    sink.write(quarantine.admit(arrival))
                    continue
                before, snapshot = snapshot, ray.get(monitor.snapshot.remote(silent_sec))
                _check_refusal(snapshot)
                silent_sec = pulse.turn((arrived, snapshot.marks))
                if snapshot.refused_layers != before.refused_layers:
                    logger.warning(unconfined(snapshot))
                sink.write(quarantine.look(snapshot))
                sink.tick()
                vitals = Vitals(
                    snapshot=snapshot,
                    streaks=quarantine.streaks,
                    silent_sec=silent_sec,
                    silent_limit=pulse.limit,
                )
                if (reason := reason_to_stop(vitals, health)) is not None:
                    dump(where_it_stands(snapshot, todo=todo.todo, arrived=arrived))
                    raise RayjobError(f"the run stopped: {reason}. {_GO_ON}")
                # After a crash a replica receives some videos again.
                received = min(snapshot.received, todo.todo)
                snapshot = replace(snapshot, received=received)
                progress.update(sink.counts, snapshot)
                timeline.record(sink.counts, snapshot)
            sink.write(quarantine.release())
            sink.tick()
    except ray.exceptions.RayError as error:
        with contextlib.suppress(ray.exceptions.RayError):
            _check_refusal(ray.get(monitor.snapshot.remote()))
        logger.error("the graph failed", exc_info=error)
        raise RayjobError(f"the run stopped: {cluster.innermost(error)}. {_GO_ON}") from error
    finally:
        # Also after an interruption: what is captioned is kept.
        sink.close()
        timeline.close()
        ray.kill(monitor)
    return snapshot, gpus * (time.monotonic() - began)


def _check_refusal(snapshot: Snapshot) -> None:
    """Stop where an engine refuses the model.

    Raises:
        ModelError: none has started, so that it is the job's configuration.
        RayjobError: others have, so that it is something else.
    """
    if snapshot.refusal is not None and snapshot.engines:
        raise RayjobError(f"the run stopped: {snapshot.refusal}. {_GO_ON}")
    if snapshot.refusal is not None:
        raise ModelError(snapshot.refusal)


def _silent_limit(config: Config) -> float:
    decode_sec = 0.0 if isinstance(config, FuseConfig) else config.decode.limits.wall_seconds
    return silent_limit(config.health, decode_sec=decode_sec)


def _summary(
    run_id: str,
    todo: TodoList,
    counts: Counts,
    snapshot: Snapshot,
    prepared: Work,
    *,
    gpu_sec: float,
    wall_sec: float,
    started_at: float,
) -> RunSummary:
    engines = snapshot.engines
    ready = [each.started_at for each in engines]
    return RunSummary(
        **counts.model_dump(),
        run_id=run_id,
        **prepared.prompts(),
        videos_in=todo.total,
        manifest_rows=todo.manifest_rows,
        inputs_repeated=todo.repeated,
        videos_skipped=todo.skipped,
        videos_retried=todo.retried,
        videos_changed=todo.changed,
        videos_replaced=todo.replaced,
        videos_gone=todo.gone,
        videos_moved=todo.moved,
        wall_sec=wall_sec,
        startup_sec=max(0.0, min(ready) - started_at) if ready else 0.0,
        videos_per_sec=counts.videos_captioned / wall_sec,
        video_hours_per_hour=counts.video_sec / wall_sec,
        engine_busy_fraction=busy_fraction(engines),
        engine_mean_running=mean_running(engines),
        refused_layers=dict(snapshot.refused_layers),
        cost=prepared.cost(gpu_sec, engines),
    )


def _config_yaml(config: Config, run_id: str) -> str:
    data: dict[str, Any] = shown_config(config.model_dump(mode="json")) | {"run_id": run_id}
    text: str = yaml.safe_dump(data, sort_keys=False)
    return text
