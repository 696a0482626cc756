"""Real runs beside what is worked out for them: in goes what a clip was measured to take, and out
comes how fast the run is with that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.simulate.inputs import Inputs
from benchmarks.simulate.limits import Shape
from benchmarks.simulate.run import simulate
from rayjob.run.graph import Tasks


@dataclass(frozen=True, kw_only=True)
class Check:
    """A figure of a real run, and what is worked out.

    Attributes:
        low, high: from and to; what was not recorded about the run lies between.
    """

    what: str
    real: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """How far the real figure is outside, as a share of it."""
        return max(0.0, self.low - self.real, self.real - self.high) / self.real


def checks(inputs: Inputs) -> Iterator[Check]:
    """All of them.

    Args:
        inputs: of any workload; what was different in a run is changed.
    """
    yield from _driver(inputs)
    yield from _small_machine(inputs)
    yield _published(inputs)


def _driver(inputs: Inputs) -> Iterator[Check]:
    """``python -m benchmarks.driver_ceiling``, three sizes of tasks."""
    for videos, real in ((4, 2.16), (20, 0.47), (40, 0.27)):
        worked_out = 1000 * inputs.driver_sec(videos) / videos
        what = f"driver, {videos} videos to a task: ms of CPU per video"
        yield Check(what=what, real=real, low=worked_out, high=worked_out)


def _small_machine(inputs: Inputs) -> Iterator[Check]:
    """``python -m benchmarks.speed_of_light --clips 400``, twice. Two cores for one engine without
    a GPU and one decoder, which decodes while the engine starts: how much is not recorded.
    """
    for decode, engine, per_sec, real in (
        (0.0135249, 0.0195500, 88.330, 61.093),
        (0.0126191, 0.0201250, 85.199, 58.630),
    ):
        run = inputs.but(
            frames=8,
            pixels=12544,
            audio_rate=16000,
            decode_cpu_sec=decode,
            decode_sigma=0.0,
            s3_wait_sec=0.0,
            prepare_sec=0.0,
            engine_per_sec=per_sec,
            engine_alone_sec=0.058,  # sequential: 14.2 a second, decoding included
            answer_sigma=0.0,
            node_losses_per_hour=0.0,
        )
        shape = Shape(engines=1, decoders=1, shared_cores=2, engine_cores=per_sec * engine)
        tasks = Tasks.of(run.plan, in_flight=run.in_flight, share=400)
        none, all_ = (
            simulate(run.but(engine_start_sec=start), shape, tasks, videos=400).busy_sec
            for start in (0.0, 20.0)
        )
        what = "embedded model, 400 clips, nothing or all decoded at the start: captions a second"
        yield Check(what=what, real=real, low=400 / none, high=400 / all_)


def _published(inputs: Inputs) -> Check:
    """The published run that decoding held up, by hand-written tasks and actors: 190 tasks for 256
    engines, and nothing begins before these have started. What a window takes to decode comes from
    another run over the same files. It has no monitor, and what its driver costs is not known.
    https://github.com/anyscale/ai-infra-cookbook/blob/main/video_captioning/BENCHMARK_1M.md
    """
    run = inputs.but(
        decode_cpu_sec=(22_891 + 246_227) / 1_055_221,
        s3_wait_sec=0.0,
        driver_ms_per_task=0.0,
        driver_ms_per_video=0.0,
        writing_ms_per_video=0.0,
        monitor_ms_per_call=0.0,
        monitor_ms_per_video=0.0,
        reader_tasks_per_sec=1e6,
        engine_per_sec=8.91,
        engine_start_sec=0.0,
        node_losses_per_hour=0.0,
    )
    shape, tasks = Shape(engines=256, decoders=190, nodes=32), Tasks(videos=1, busy=80, at_hand=80)
    steady = simulate(run, shape, tasks, videos=30_000, endless=True).videos_per_sec
    wall = inputs.engine_start_sec + 1_055_410 / steady
    return Check(what="published, 190 decoders: seconds in all", real=1735.6, low=wall, high=wall)
