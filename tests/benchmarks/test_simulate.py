"""The simulated run against what can be worked out by hand, and against real runs."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.simulate import __main__ as command
from benchmarks.simulate.inputs import FILE, Inputs, cases
from benchmarks.simulate.limits import Shape, available, bottleneck, limits, tasks
from benchmarks.simulate.outcome import Outcome
from benchmarks.simulate.parts import Batch, Clock
from benchmarks.simulate.real_runs import checks
from benchmarks.simulate.run import simulate
from rayjob.run import graph

GPUS = 8
MANY = 10**9

QUICK: dict[str, Any] = {
    "decode_cpu_sec": 0.01,
    "s3_wait_sec": 0.0,
    "prepare_sec": 0.001,
    "engine_per_sec": 200.0,
    "engine_alone_sec": 0.1,
    "cpus_per_node": 40,
    "engine_start_sec": 0.0,
    "node_losses_per_hour": 0.0,
    "s3_prefixes": 10,
    "driver_ms_per_task": 1.0,
    "driver_ms_per_video": 0.05,
    "writing_ms_per_video": 0.01,
    "monitor_ms_per_call": 0.1,
}
"""Everything is good for some 1,600 videos a second or more."""


def inputs(**changes: Any) -> Inputs:
    return cases()["seen"].but(**(QUICK | changes))


def run(of: Inputs, *, videos: int = 12_000, seed: int = 0, endless: bool = True) -> Outcome:
    shape = Shape.of(of, GPUS)
    return simulate(of, shape, tasks(of, GPUS, MANY), videos=videos, seed=seed, endless=endless)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("executors", {"driver_ms_per_task": 100.0}),
        ("driver", {"writing_ms_per_video": 1.0, "driver_ms_per_video": 1.1}),
        ("engines", {}),
    ],
)
def test_several_executors_work_side_by_side(
    part: str, changes: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.simulate.limits.ENGINES_PER_EXECUTOR", GPUS // 2)
    of = inputs(**({"engine_per_sec": 150.0} | changes))
    alone = limits(of, GPUS, videos=MANY)
    outcome = run(of)
    assert bottleneck(alone) == outcome.bottleneck == part
    assert outcome.videos_per_sec == pytest.approx(alone[part], rel=0.05)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("driver", {"driver_ms_per_video": 1.0}),
        ("monitor", {"monitor_ms_per_video": 1.0}),
        ("readers", {"reader_tasks_per_sec": 1.0}),
        ("s3", {"s3_per_sec_and_prefix": 100.0}),
        ("decoders", {"decode_cpu_sec": 0.08}),
        ("prepare", {"prepare_sec": 0.02}),
        ("engines", {"engine_per_sec": 40.0}),
        ("engines", {"engine_alone_sec": 2.0}),  # 64 at once, each of which takes as long as alone
    ],
)
def test_the_slowest_part_decides(part: str, changes: dict[str, float]) -> None:
    of = inputs(**changes)
    alone = limits(of, GPUS, videos=MANY)
    outcome = run(of)
    assert bottleneck(alone) == outcome.bottleneck == part
    assert outcome.videos_per_sec == pytest.approx(alone[part], rel=0.05)
    assert outcome.used[part] == pytest.approx(1.0, abs=0.05)


def test_a_monitor_that_cannot_hear_all_engines_holds_up_the_run() -> None:
    of = inputs(monitor_calls_per_sec=10_000.0)
    alone = limits(of, GPUS, videos=MANY)
    outcome = run(of)
    assert bottleneck(alone) == outcome.bottleneck == "monitor"
    assert outcome.videos_per_sec == pytest.approx(alone["monitor"], rel=0.1)


def test_engines_starve_by_what_is_missing() -> None:
    of = inputs(decode_cpu_sec=0.04, engine_alone_sec=0.01)  # 800 videos a second of 1,600
    outcome = run(of)
    assert outcome.used["engines"] == pytest.approx(0.5, abs=0.03)


def test_a_run_starts_with_its_engines_and_stops_decoding_when_the_store_is_full() -> None:
    of = inputs(engine_start_sec=60.0, node_memory_gib=1.0)
    outcome = run(of, endless=False)
    most = of.store_bytes_per_node
    assert outcome.wall_sec > 60.0 + 12_000 / 1600
    assert outcome.busy_sec == outcome.wall_sec - 60.0
    assert 0.7 * most < outcome.peak_store_bytes <= most


def test_lost_nodes_cost_their_time_and_nothing_else() -> None:
    often = {"node_losses_per_hour": 225.0, "node_start_sec": 3.0, "engine_start_sec": 1.0}
    of = inputs(gpus_per_node=2, cpus_per_node=10, node_memory_gib=60, **often)
    outcome = run(of, videos=24_000, endless=False)
    assert available(of) == pytest.approx(0.8)
    assert outcome.losses > 3
    assert 0 < outcome.redone < 24_000
    # Beside the seconds in which a node is away, what it had at hand is done again.
    alone = run(of.but(node_losses_per_hour=0.0), videos=24_000, endless=False)
    lost = outcome.redone / 1600
    assert outcome.wall_sec / alone.wall_sec > 1 / available(of) - 0.15
    assert outcome.wall_sec < (alone.wall_sec + lost) / available(of) * 1.15


def test_a_seed_decides_all() -> None:
    first, again, other = (run(inputs(), seed=seed, videos=3_000) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(("at_once", "seconds"), [(1, 1.0), (5, 1.0), (20, 2.0), (40, 4.0)])
def test_a_batch_is_as_fast_as_its_requests_or_its_engine(at_once: int, seconds: float) -> None:
    clock = Clock()
    ended: list[float] = []
    batch = Batch(clock, places=20, alone_sec=1.0, per_sec=10.0, share=lambda: 1.0)
    for _ in range(at_once):
        batch.ask(1.0, lambda: ended.append(clock.now))
    while clock.step():
        pass
    assert len(ended) == at_once
    assert ended[-1] == pytest.approx(seconds)
    assert batch.busy == pytest.approx(seconds)


def test_the_graph_is_the_products_own(monkeypatch: pytest.MonkeyPatch) -> None:
    of = cases()["seen"].but(max_num_seqs=256)
    before = limits(of, GPUS, videos=MANY)
    monkeypatch.setattr(graph, "_VIDEOS_PER_TASK", 4)
    monkeypatch.setattr(graph, "_READERS", 1)
    after = limits(of, GPUS, videos=MANY)
    assert after["driver"] < before["driver"] / 4
    assert after["readers"] == pytest.approx(before["readers"] / 16 / 2)
    # Where these change, so must the simulation.
    assert "max_tasks_in_flight_per_actor=2)" in inspect.getsource(graph._decoded)
    assert "max_tasks_in_flight_per_actor=calls + 2" in inspect.getsource(graph.caption_graph)


def test_every_number_has_its_source(tmp_path: Path) -> None:
    document = yaml.safe_load(FILE.read_text())
    del document["common"]["engine_per_sec"]["source"]
    (tmp_path / "inputs.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(ValueError, match="engine_per_sec"):
        cases(tmp_path / "inputs.yaml")


def test_real_runs_are_met_within_15_percent() -> None:
    found = list(checks(cases()["seen"]))
    assert len(found) == 6
    assert {check.what: check.error for check in found if check.error > 0.15} == {}


def test_the_command_ends_with_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["simulate", "--gpus", "8", "16", "--clips", "1e8"])
    monkeypatch.setattr(command, "_SIMULATED", 8_000)
    monkeypatch.setattr(command, "checks", lambda _: iter(()))
    command.main()
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert document["clips"] == 10**8
    for case in document["cases"].values():
        small, large = case["sizes"]
        assert small["days"] > large["days"] > 0
        assert small["store_gb_per_node"] <= 100.0
        assert next(iter(case["breaks_at_gpus"])) == "s3"
