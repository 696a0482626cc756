"""The graph: how the data flows, from the run's to-do list to result rows on the driver."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy
from ray.data._internal.execution.execution_callback import ExecutionCallback

from actors.stages import Captioner, Decoder
from actors.storage.places import Places
from actors.storage.uris import split_segment
from rayjob.capacity.cluster import Resources
from rayjob.capacity.pool import EnginePool
from rayjob.inputs.todo import Portion
from rayjob.output.store import TableStore
from schemas.blocks import packed, undecoded_table
from schemas.budget import Budget
from schemas.config import DecodeConfig
from schemas.media import SamplingPlan, StorageOptions
from schemas.recipe import Recipe
from schemas.splitting import SplitConfig

_TARGET_BLOCK_BYTES = 1
"""Below the size of any row, so that Ray Data makes each row a block of its own: videos of the
to-do list spread over all actors, and what one task hands on (see ``schemas.blocks.PACKED``)
is taken up by the next one as it is."""

_VIDEOS_PER_TASK = 64
_TASK_BYTES = 256 << 20
"""Most that a task carries, decoded. It costs the driver some eight milliseconds, whatever it
carries."""

_TASKS_PER_ACTOR = 16
"""Tasks that an actor has at least over a run, so that none idles for long at its end."""

_PARTS = 2
"""Tasks, at least, in which the videos come that an engine works on at once."""

_AHEAD = 5
_ENGINE_BYTES = 16 << 30
"""Most that the tasks of an engine carry: videos, as a multiple of those that it works on at once,
and decoded bytes. What is done waits for the slowest of its task: with no more videos than the
engine works on, half of them would be waiting."""

_LONG_PARTS, _LONG_AHEAD = 20, 2
"""The same where the length of a video decides how much is decoded: fewer of them wait for each
other."""

_SEGMENTS_TOGETHER = 32
"""Segments of one file that one decoder takes at least, so that a file with 500 is opened, and its
index read, at most 20 times however many decoders there are."""

_READERS = 8
_READER_BLOCKS_PER_SEC = 20
_READ_PER_SEC = 2000
"""Tasks that read the to-do list at once, at most; what Ray Data takes of each; and the videos a
second that together they are to hand on where that many readers can. Each is a process."""

_ENGINE_START_DEATHS = 3
"""Engines that may die in a row while they start before the run gives up."""


def caption_graph(
    todo: Sequence[Portion],
    store: TableStore,
    *,
    recipe: Recipe,
    pool: EnginePool,
    decode: DecodePool | None,
    monitor: Any,
    patience: float,
) -> Dataset:
    """To-do list -> decode [CPU actors] -> caption [engines].

    Args:
        todo: where there are rows of ``schemas.blocks.INPUTS``.
        store: the output, which holds them.
        decode: None for a recipe that works on earlier captions.
        monitor: handle of an :class:`actors.monitor.Monitor`.
        patience: as in :class:`actors.stages.Captioner`.

    Returns:
        rows of ``schemas.blocks.PACKED``, for :func:`blocks`, in no particular order.
    """
    videos = sum(portion.rows for portion in todo)
    actors = max(pool.replicas, decode.actors if decode is not None else 1)
    tasks = Tasks.of(recipe.plan, in_flight=pool.videos_in_flight, share=videos // actors)
    calls = tasks.at_hand
    _configure(pool_grows_at=tasks.busy / calls)
    return (
        _decoded(
            _read(todo, store, batch_size=tasks.videos),
            recipe.plan,
            decode,
            monitor=monitor,
            budget=pool.settings.budget,
            videos_per_task=tasks.videos,
        )
        # By default a fixed pool: engines take minutes to start, and a pool that grows by
        # load starts them when they are already needed.
        .map_batches(
            Captioner,
            fn_constructor_kwargs={
                "recipe": recipe,
                "settings": pool.settings,
                "monitor": monitor,
                "patience": patience,
                "in_flight": pool.videos_in_flight,
                "follows_queue": pool.follows_queue,
            },
            batch_size=1,
            batch_format="pyarrow",
            zero_copy_batch=True,
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            compute=ActorPoolStrategy(
                min_size=pool.min_replicas,
                max_size=pool.replicas,
                max_concurrent_calls_per_actor=calls,
                max_tasks_in_flight_per_actor=calls + 2,
            ),
        )
    )


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """In which portions an engine has its videos.

    Attributes:
        videos: of each.
        busy: tasks that hold as many videos as the engine works on at once.
        at_hand: tasks that the engine has.
    """

    videos: int
    busy: int
    at_hand: int

    @classmethod
    def of(cls, plan: SamplingPlan | None, *, in_flight: int, share: int) -> Tasks:
        """As large as may be: small where videos are large, or where the run is small.

        Args:
            plan: None for texts.
            in_flight: videos that the engine works on at once.
            share: videos of the run for each actor.
        """
        most, ahead = in_flight // _PARTS, _AHEAD
        clip = (plan.clip_bytes() if plan is not None else None) or 1
        if plan is not None and plan.num_frames is None:
            most, ahead = in_flight // _LONG_PARTS, _LONG_AHEAD
        most = min(most, _VIDEOS_PER_TASK, _TASK_BYTES // clip, share // _TASKS_PER_ACTOR)
        videos = max(1, most)
        busy = -(-in_flight // videos)
        at_hand = busy
        if videos > 1:  # alone in its task, none waits for others
            # One that starts early leaves the others their share.
            room = min(ahead * busy, _ENGINE_BYTES // (videos * clip), share // videos)
            at_hand = max(busy + 1, room)
        return cls(videos=videos, busy=busy, at_hand=at_hand)


def _decoded(
    inputs: Dataset,
    plan: SamplingPlan | None,
    pool: DecodePool | None,
    *,
    monitor: Any,
    budget: Budget | None,
    videos_per_task: int,
) -> Dataset:
    """Decode what the inputs name; as they are where there is nothing to decode."""
    if plan is None or pool is None:
        return inputs
    # One video costs one core: more threads per video would only add waiting.
    return inputs.map_batches(
        Decoder,
        fn_constructor_kwargs={
            "monitor": monitor,
            "plan": plan,
            "limits": pool.config.limits,
            "storage": pool.storage,
            "budget": budget,
            "places": pool.places,
            "cpu_kind": pool.config.node_resource or "",
            "videos_per_row": videos_per_task,
        },
        batch_size=1,
        batch_format="pyarrow",
        zero_copy_batch=True,
        num_cpus=pool.config.cpus_per_actor,
        resources=pool.custom_resources or None,
        compute=ActorPoolStrategy(size=pool.actors, max_tasks_in_flight_per_actor=2),
    )


def split_graph(
    todo: Sequence[Portion],
    store: TableStore,
    *,
    config: SplitConfig,
    decode: DecodePool,
    monitor: Any,
) -> Dataset:
    """To-do list -> split [CPU actors, or with a share of a GPU]; as :func:`caption_graph`."""
    # The actors' process has OpenCV, which captioning does without.
    from actors.splitting.splitter import Splitter

    _configure(pool_grows_at=1.0)  # the pool is fixed
    return _read(todo, store, batch_size=1).map_batches(
        Splitter,
        fn_constructor_kwargs={
            "monitor": monitor,
            "config": config,
            "limits": decode.config.limits,
            "storage": decode.storage,
            "places": decode.places,
            "cpu_kind": decode.config.node_resource or "",
        },
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=decode.config.cpus_per_actor,
        num_gpus=config.gpus_per_actor or None,
        resources=decode.custom_resources or None,
        compute=ActorPoolStrategy(size=decode.actors, max_tasks_in_flight_per_actor=2),
    )


def blocks(graph: Dataset) -> Iterator[pa.Table]:
    """Run the graph in this process; yield rows of ``schemas.blocks.PACKED`` as they are made."""
    # Batches would pass three threads more, and each would be told to an actor of Ray Data's.
    for bundle in graph.iter_internal_ref_bundles():
        for block in bundle.block_refs:
            yield ray.get(block)


def stop() -> None:
    """End the graph, or the graphs, of this process's run: whoever waits for results is told by
    an error soon.
    """
    _stopped.set()


def check_stopped() -> None:
    """Raise RuntimeError after :func:`stop`."""
    if _stopped.is_set():
        raise RuntimeError("the run has ended")


class _Stopping(ExecutionCallback):
    """What Ray Data calls at each of its steps, some ten times a second."""

    def on_execution_step(self, executor: Any) -> None:
        check_stopped()


_stopped = threading.Event()


@dataclass(frozen=True, kw_only=True)
class DecodePool:
    """The decode actors: how many, and as what."""

    actors: int
    config: DecodeConfig
    storage: StorageOptions
    places: Places

    @property
    def custom_resources(self) -> dict[str, float]:
        """What an actor asks of Ray beside its CPUs."""
        name = self.config.node_resource
        return {name: self.config.cpus_per_actor} if name else {}


def decode_pool(
    config: DecodeConfig,
    *,
    engines: EnginePool | None,
    resources: Resources,
    storage: StorageOptions,
    places: Places,
) -> DecodePool:
    """Decode actors as configured, else one per CPU of the nodes that are theirs alone, or that
    the engines leave free.

    Args:
        engines: None for a run without any.
    """
    if config.node_resource is None:
        free = resources.cpus - (0 if engines is None else engines.replicas * engines.cpus)
    else:
        free = sum(node.get(config.node_resource, 0.0) for node in resources.nodes)
    return DecodePool(
        actors=config.actors or max(1, int(free // config.cpus_per_actor)),
        config=config,
        storage=storage,
        places=places,
    )


def _configure(*, pool_grows_at: float) -> None:
    """Settings of the whole graph; a dataset takes a copy of them when it is made.

    Args:
        pool_grows_at: share of all calls that are taken when a pool between two sizes adds an
            engine. Ray Data's own 1.75 counts on twice as many tasks waiting as run, which a pool
            of batching engines never has.
    """
    context = DataContext.get_current()
    context.target_max_block_size = _TARGET_BLOCK_BYTES
    context.max_consecutive_actor_init_deaths = _ENGINE_START_DEATHS
    # Ray Data sees finished blocks alone; the run itself watches tokens (rayjob.watching.health).
    context.execution_no_progress_timeout_s = -1
    _stopped.clear()
    context.custom_execution_callback_classes = [_Stopping]
    context.autoscaling_config.actor_pool_util_upscaling_threshold = pool_grows_at
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A thread for each task, which looks at the memory of an actor that may run eighty of them.
    context.memory_usage_poll_interval_s = None


def _read(todo: Sequence[Portion], store: TableStore, *, batch_size: int) -> Dataset:
    """The run's to-do list, packed: ``schemas.blocks.DECODED`` with nothing decoded yet.

    Reading asks for no CPU: the actors hold all CPUs for the whole run, and a task
    that waited for one would wait forever. A local list is read where the driver wrote it, as other
    nodes need not have its folder.
    """

    def read(batch: dict[str, Any]) -> Iterator[pa.Table]:
        for path, group, first, rows in zip(
            *(batch[name] for name in Portion._fields), strict=True
        ):
            with store.open_parquet(path) as file:
                inputs = file.read_row_group(int(group)).slice(first, rows)
            for task in tasks_of(inputs.to_pylist(), batch_size):
                yield packed(undecoded_table(task))

    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    return ray.data.from_items([portion._asdict() for portion in todo]).map_batches(
        read,
        batch_size=1,
        num_cpus=0,
        label_selector=here if store.is_local else None,
        compute=TaskPoolStrategy(size=min(readers(batch_size), len(todo))),
    )


def readers(videos: int) -> int:
    """How many tasks read the to-do list at once, where each block has so many videos."""
    return min(_READERS, -(-_READ_PER_SEC // (_READER_BLOCKS_PER_SEC * videos)))


def tasks_of(inputs: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Inputs by the task that decodes them: ``size`` of them, or more if segments of one file.

    Args:
        inputs: rows of ``schemas.blocks.INPUTS`` with the segments of a file side by side.
    """
    alone: list[dict[str, Any]] = []
    for _, of_file in groupby(inputs, key=lambda row: split_segment(row["uri"])[0]):
        rows = list(of_file)
        most = max(size, _SEGMENTS_TOGETHER) if len(rows) > 1 else size
        if len(rows) == 1:
            alone += rows
            rows, alone = (alone, []) if len(alone) == size else ([], alone)
        yield from (rows[first : first + most] for first in range(0, len(rows), most))
    if alone:
        yield alone
