"""A run, event by event: the graph of ``rayjob.run.graph`` with its driver, storage and nodes.

To-do list -> readers -> executor -> decoders -> object store -> executor -> engines -> executor
-> driver; a single executor is the driver. In which portions the videos come, how many an engine
has at hand, and how many executors there are is the product's own; how long each step takes, and
when decoding stops, is in the inputs. Executors take turns: whose engines are whose is left out.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable

from benchmarks.simulate.inputs import Inputs
from benchmarks.simulate.limits import Shape, executors
from benchmarks.simulate.outcome import Outcome
from benchmarks.simulate.parts import Batch, Clock, Decoder, Engine, Server, Task
from rayjob.run.graph import Tasks

_DECODER_TASKS = 2
"""Tasks that a decoder has: ``max_tasks_in_flight_per_actor`` in ``rayjob.run.graph``."""

_ENGINE_TASKS_MORE = 2
"""Tasks that wait for an engine beside those at hand, as there."""

_WINDOW = 0.45, 0.95
"""Shares of the videos between which a run counts as steady."""


class Run:
    """One run. See :func:`simulate`."""

    def __init__(
        self, inputs: Inputs, shape: Shape, tasks: Tasks, videos: int, seed: int, endless: bool
    ) -> None:
        self._in, self._shape, self._tasks, self._videos = inputs, shape, tasks, videos
        self._random = random.Random(seed)
        self._clock = clock = Clock()
        self._left = math.inf if endless else videos
        self._done = self._redone = self._losses = 0
        self._readers, self._driver, self._monitor, self._s3 = (Server(clock) for _ in range(4))
        count = executors(shape.engines)
        self._executors = [self._driver] if count == 1 else [Server(clock) for _ in range(count)]
        self._turns = itertools.cycle(self._executors)
        self._decoders: list[Decoder] = []
        self._engines: list[Engine] = []
        self._decoding, self._decoded_sec, self._decoding_since = 0, 0.0, 0.0
        self._vacant: tuple[deque[Decoder], ...] = tuple(deque() for _ in range(_DECODER_TASKS))
        self._roomy: list[tuple[int, int]] = []
        self._ready: deque[Task] = deque()
        self._reserved = self._stored = self._peak = 0.0
        self._marks: list[tuple[float, int, dict[str, float]]] = []
        self._first_engine = math.inf

    def __call__(self) -> Outcome:
        # Of many that began at once, all would be ready at once for a long time.
        spread = self._tasks.videos * self._in.decode_sec if math.isinf(self._left) else 0.0
        for number in range(self._shape.decoders):
            start = self._decoder_of(number % self._shape.nodes)
            self._clock.at(spread * self._random.random(), start)
        for number in range(self._shape.engines):
            self._clock.at(self._in.engine_start_sec, self._engine_of(number % self._shape.nodes))
        if self._in.node_losses_per_hour:
            for node in range(self._shape.nodes):
                self._plan_loss(node)
        while self._done < self._videos and self._clock.step():
            pass
        return self._outcome()

    # Decoders

    def _decoder_of(self, node: int) -> Callable[[], None]:
        def start() -> None:
            decoder = Decoder(node)
            self._decoders.append(decoder)
            self._vacant[0].append(decoder)
            self._feed_decoders()

        return start

    def _vacancy(self) -> Decoder | None:
        """The decoder with the fewest tasks, where one has room."""
        for count, decoders in enumerate(self._vacant):
            while decoders:
                decoder = decoders.popleft()
                if not decoder.dead and len(decoder.tasks) == count:
                    return decoder
        return None

    def _feed_decoders(self) -> None:
        while self._left:
            size = int(min(self._tasks.videos, self._left))
            room = self._in.store_bytes_per_node * self._shape.nodes
            if self._reserved and self._reserved + size * self._in.clip_bytes > room:
                return
            decoder = self._vacancy()
            if decoder is None:
                return
            self._left -= size
            self._reserved += size * self._in.clip_bytes
            task = Task(size, size, decoder.node)
            decoder.tasks.append(task)
            self._note(decoder)
            self._read(decoder, task)

    def _note(self, decoder: Decoder) -> None:
        if len(decoder.tasks) < _DECODER_TASKS:
            self._vacant[len(decoder.tasks)].append(decoder)

    def _read(self, decoder: Decoder, task: Task) -> None:
        half, executor = self._in.driver_sec(0) / 2, next(self._turns)
        self._readers.ask(
            1 / self._in.readers_per_sec(task.videos) / len(self._executors),
            lambda: executor.ask(half, lambda: self._reach(decoder, task)),
        )

    def _reach(self, decoder: Decoder, task: Task) -> None:
        decoder.waiting.append(task)
        if not decoder.works:
            self._decode_next(decoder)

    def _decode_next(self, decoder: Decoder) -> None:
        decoder.works = bool(decoder.waiting) and not decoder.dead
        if decoder.works:
            task = decoder.waiting.popleft()
            requests = task.videos * self._in.s3_requests
            self._s3.ask(requests / self._in.s3_per_sec, lambda: self._decode(decoder, task))

    def _decode(self, decoder: Decoder, task: Task) -> None:
        self._count_decoding(1)
        cpu = sum(self._spread(self._in.decode_sigma) for _ in range(task.videos))
        wait = task.videos * self._in.s3_requests * self._in.s3_wait_sec
        seconds = cpu * self._in.decode_cpu_sec / self._share() + wait
        self._clock.at(self._clock.now + seconds, lambda: self._decoded(decoder, task))

    def _count_decoding(self, more: int) -> None:
        passed, self._decoding_since = self._clock.now - self._decoding_since, self._clock.now
        self._decoded_sec += passed * self._decoding
        self._decoding += more

    def _decoded(self, decoder: Decoder, task: Task) -> None:
        self._count_decoding(-1)
        if decoder.dead:
            return
        self._stored += task.videos * self._in.clip_bytes
        self._peak = max(self._peak, self._stored)
        decoder.tasks.remove(task)
        self._note(decoder)
        self._ready.append(task)
        self._decode_next(decoder)
        self._feed_engines()
        self._feed_decoders()

    # Engines

    def _engine_of(self, node: int) -> Callable[[], None]:
        def start() -> None:
            self._first_engine = min(self._first_engine, self._clock.now)
            batch = Batch(
                self._clock,
                places=self._in.max_num_seqs,
                alone_sec=self._in.engine_alone_sec,
                per_sec=self._in.engine_per_sec,
                share=self._share,
            )
            self._engines.append(Engine(node, Server(self._clock), batch))
            self._offer(len(self._engines) - 1)
            self._feed_engines()

        return start

    def _share(self) -> float:
        """How fast decoders and engines are, where they share their cores."""
        if self._shape.shared_cores is None:
            return 1.0
        busy = sum(engine.batch.is_busy for engine in self._engines)
        return min(
            1.0, self._shape.shared_cores / (self._decoding + busy * self._shape.engine_cores or 1)
        )

    def _offer(self, number: int) -> None:
        heapq.heappush(self._roomy, (len(self._engines[number].tasks), number))

    def _room(self) -> int | None:
        """The engine with the fewest tasks, where one has room."""
        while self._roomy:
            tasks, number = heapq.heappop(self._roomy)
            engine = self._engines[number]
            is_so = not engine.dead and len(engine.tasks) == tasks
            if is_so and tasks < self._tasks.at_hand + _ENGINE_TASKS_MORE:
                return number
        return None

    def _feed_engines(self) -> None:
        while self._ready:
            number = self._room()
            if number is None:
                return
            task = self._ready.popleft()
            self._engines[number].tasks[task] = None
            self._offer(number)
            self._hand(number, task)

    def _hand(self, number: int, task: Task) -> None:
        half = self._in.driver_sec(0) / 2
        next(self._turns).ask(half, lambda: self._take(number, task))

    def _take(self, number: int, task: Task) -> None:
        engine = self._engines[number]
        if engine.dead:
            return
        if engine.calls < self._tasks.at_hand:
            self._begin(number, task)
        else:
            engine.waiting.append(task)

    def _begin(self, number: int, task: Task) -> None:
        engine = self._engines[number]
        engine.calls += 1

        def told() -> None:
            engine.videos.extend([task] * task.videos)
            self._enter(number)

        self._monitor.ask(self._telling_sec(task), told)

    def _telling_sec(self, task: Task) -> float:
        return self._in.monitor_sec(task.videos, engines=self._shape.engines) / 2

    def _enter(self, number: int) -> None:
        engine = self._engines[number]
        while engine.videos and engine.inside < self._in.in_flight and not engine.dead:
            engine.inside += 1
            self._prepare(number, engine.videos.popleft())

    def _prepare(self, number: int, task: Task) -> None:
        engine = self._engines[number]
        work = self._spread(self._in.answer_sigma)

        def prepared() -> None:
            if not engine.dead:
                engine.batch.ask(work, lambda: self._captioned(number, task))

        engine.prepare.ask(self._in.prepare_sec, prepared)

    def _captioned(self, number: int, task: Task) -> None:
        self._engines[number].inside -= 1
        task.left -= 1
        if not task.left:
            self._monitor.ask(self._telling_sec(task), lambda: self._returned(number, task))
        self._enter(number)

    def _returned(self, number: int, task: Task) -> None:
        engine = self._engines[number]
        if engine.dead:
            return
        del engine.tasks[task]
        engine.calls -= 1
        self._offer(number)
        self._free(task)
        if engine.waiting:
            self._begin(number, engine.waiting.popleft())
        executor = next(self._turns)
        writing = self._in.writing_sec(task.videos)
        passing = self._in.executor_sec(task.videos) - self._in.driver_sec(0)
        if executor is self._driver:
            executor.ask(passing + writing, lambda: self._finish(task.videos))
        else:
            executor.ask(
                passing, lambda: self._driver.ask(writing, lambda: self._finish(task.videos))
            )
        self._feed_engines()
        self._feed_decoders()

    def _free(self, task: Task) -> None:
        self._stored -= task.videos * self._in.clip_bytes
        self._reserved -= task.videos * self._in.clip_bytes

    def _finish(self, videos: int) -> None:
        self._done += videos
        if len(self._marks) < 2 and self._done >= _WINDOW[len(self._marks)] * self._videos:
            self._marks.append((self._clock.now, self._done, self._worked()))

    # Nodes that are lost

    def _plan_loss(self, node: int) -> None:
        after = self._random.expovariate(self._in.node_losses_per_hour / 3600)
        self._clock.at(self._clock.now + after, lambda: self._lose(node))

    def _lose(self, node: int) -> None:
        """All that the node held is to do again; it comes back with its engines."""
        self._losses += 1
        again: list[Task] = [task for task in self._ready if task.node == node]
        self._ready = deque(task for task in self._ready if task.node != node)
        engines = [each for each in self._engines if each.node == node and not each.dead]
        decoders = [each for each in self._decoders if each.node == node and not each.dead]
        for engine in engines:
            engine.dead = True
            engine.batch.close()
            again += engine.tasks
        for task in again:
            self._free(task)
        for decoder in decoders:
            decoder.dead = True
            self._reserved -= sum(task.videos for task in decoder.tasks) * self._in.clip_bytes
        again += [task for decoder in decoders for task in decoder.tasks]
        self._redone += sum(task.videos for task in again)
        self._left += sum(task.videos for task in again)
        back = self._clock.now + self._in.node_start_sec

        def return_() -> None:
            for _ in decoders:
                self._decoder_of(node)()
            self._plan_loss(node)

        self._clock.at(back, return_)
        for _ in engines:
            self._clock.at(back + self._in.engine_start_sec, self._engine_of(node))
        self._feed_decoders()

    # What it comes to

    def _spread(self, sigma: float) -> float:
        """About 1, with a long tail."""
        return self._random.lognormvariate(-sigma * sigma / 2, sigma) if sigma else 1.0

    def _worked(self) -> dict[str, float]:
        """Seconds that each part has worked; of a group, seconds of one of them on average."""
        engines, decoders = self._shape.engines, self._shape.decoders
        self._count_decoding(0)
        several = {}
        if (count := len(self._executors)) > 1:
            several = {"executors": sum(each.busy for each in self._executors) / count}
        return several | {
            "driver": self._driver.busy,
            "monitor": self._monitor.busy,
            "readers": self._readers.busy,
            "s3": self._s3.busy,
            "decoders": self._decoded_sec / decoders,
            "prepare": sum(each.prepare.busy for each in self._engines) / engines,
            "engines": sum(each.batch.work for each in self._engines)
            / engines
            / min(self._in.engine_per_sec, self._in.max_num_seqs / self._in.engine_alone_sec),
            "has_request": sum(each.batch.busy for each in self._engines) / engines,
        }

    def _outcome(self) -> Outcome:
        (begun, before, worked), (ended, after, work) = self._marks
        seconds = ended - begun
        used = {name: (work[name] - worked[name]) / seconds for name in work}
        return Outcome(
            videos=self._videos,
            wall_sec=self._clock.now,
            busy_sec=self._clock.now - self._first_engine,
            videos_per_sec=(after - before) / seconds,
            engine_busy_fraction=used.pop("has_request"),
            used=used,
            peak_store_bytes=self._peak,
            redone=self._redone,
            losses=self._losses,
        )


def simulate(
    inputs: Inputs,
    shape: Shape,
    tasks: Tasks,
    *,
    videos: int,
    seed: int = 0,
    endless: bool = False,
) -> Outcome:
    """Run once.

    Args:
        tasks: in which portions the videos come.
        videos: to do.
        seed: of what is drawn: how long each clip and answer takes, which nodes are lost when.
        endless: look at the first ``videos`` results of a run that has many more.
    """
    return Run(inputs, shape, tasks, videos, seed, endless)()
