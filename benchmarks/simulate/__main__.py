"""Print what a run is on 64, 256 and 1,000 GPUs, and what breaks first; the last line is JSON."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from benchmarks.simulate.inputs import Inputs, cases
from benchmarks.simulate.limits import (
    Shape,
    available,
    bottleneck,
    breaking_points,
    limits,
    nodes,
    tasks,
)
from benchmarks.simulate.real_runs import checks
from benchmarks.simulate.run import simulate

_DAY = 86_400
_SIMULATED_PER_GPU, _SIMULATED = 2_500, 800_000
"""Videos whose way is followed, before the rest is taken to go on like that."""


def size(inputs: Inputs, gpus: int, *, clips: int, seed: int = 0) -> dict[str, Any]:
    """A run of so many clips on so many GPUs."""
    each, alone = tasks(inputs, gpus, clips), limits(inputs, gpus, videos=clips)
    # The store fills for hours, which does not change the rate in the end: it has the room that
    # twice what is being decoded takes, and what engines have at hand.
    decoding = 2 * min(alone.values()) * each.videos * inputs.decode_sec
    at_hand = gpus * (each.at_hand + 2) * each.videos
    room = (decoding + at_hand) * inputs.clip_bytes / nodes(inputs, gpus)
    steady = simulate(
        inputs.but(
            engine_start_sec=0.0,
            node_losses_per_hour=0.0,
            object_store_in_use=inputs.object_store_in_use
            * min(1.0, room / inputs.store_bytes_per_node),
        ),
        Shape.of(inputs, gpus),
        each,
        videos=min(gpus * _SIMULATED_PER_GPU, _SIMULATED),
        seed=seed,
        endless=True,
    )
    rate = steady.videos_per_sec * available(inputs)
    wall = inputs.node_start_sec + inputs.engine_start_sec + clips / rate
    waits = inputs.store_bytes_per_node  # of what is decoded sooner than captioned
    if bottleneck(alone) in ("readers", "s3", "decoders"):
        waits = steady.peak_store_bytes / nodes(inputs, gpus)
    whole = min(alone["decoders"], alone["prepare"], alone["engines"])
    breaks = breaking_points(inputs, videos=clips)
    return {
        "gpus": gpus,
        "videos_per_task": each.videos,
        "videos_per_sec": round(steady.videos_per_sec, 1),
        "bottleneck": steady.bottleneck,
        "bottleneck_by_arithmetic": bottleneck(alone),
        "limits_videos_per_sec": {name: round(limit) for name, limit in alone.items()},
        "engine_rate_used": round(steady.videos_per_sec / alone["engines"], 3),
        "engine_busy_fraction": round(steady.engine_busy_fraction, 3),
        "store_gb_per_node": round(waits / 1e9, 1),
        "days": round(wall / _DAY, 2),
        "gpu_usd": round(gpus * wall / 3600 * inputs.usd_per_gpu_hour),
        "requests_usd": round(clips * inputs.s3_requests / 1000 * inputs.usd_per_1000_requests),
        # Runs over parts of the input, side by side, that together use all GPUs.
        "runs_side_by_side": math.ceil(gpus / min(breaks["driver"], breaks["monitor"])),
        "s3_prefixes": math.ceil(whole * inputs.s3_requests / inputs.s3_per_sec_and_prefix),
        "gpu_usd_side_by_side": round(gpus * clips / whole / 3600 * inputs.usd_per_gpu_hour),
    }


_COLUMNS = {
    "GPUs": "gpus",
    "videos/s": "videos_per_sec",
    "slowest": "bottleneck",
    "engines' rate used": "engine_rate_used",
    "engines busy": "engine_busy_fraction",
    "waiting, GB/node": "store_gb_per_node",
    "days": "days",
    "GPUs, USD": "gpu_usd",
    "requests, USD": "requests_usd",
    "runs that use all GPUs": "runs_side_by_side",
    "GPUs then, USD": "gpu_usd_side_by_side",
}


def _print_table(rows: list[dict[str, Any]]) -> None:
    print("| " + " | ".join(_COLUMNS) + " |")
    print("|---" * len(_COLUMNS) + "|")
    for row in rows:
        cells = (row[name] for name in _COLUMNS.values())
        print("| " + " | ".join(f"{c:,}" if isinstance(c, int) else str(c) for c in cells) + " |")


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, nargs="+", default=[64, 256, 1000])
    parser.add_argument("--clips", type=float, default=1e9)
    parser.add_argument("--s3-prefixes", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    clips = int(arguments.clips)
    result: dict[str, Any] = {"clips": clips, "cases": {}}
    for name, case in cases().items():
        inputs = case.but(s3_prefixes=arguments.s3_prefixes or case.s3_prefixes)
        print(f"\n{name}: {inputs.frames} frames, {clips:,} clips\n")
        rows = [size(inputs, gpus, clips=clips, seed=arguments.seed) for gpus in arguments.gpus]
        _print_table(rows)
        breaks = breaking_points(inputs, videos=clips)
        text = ", ".join(f"{part} from {gpus:,} GPUs on" for part, gpus in breaks.items())
        print(f"\nslower than the rest of the cluster: {text}")
        result["cases"][name] = {"sizes": rows, "breaks_at_gpus": breaks}
    planning = {
        "memory_gb": round(clips * inputs.planning_bytes_per_row / 1e9),
        "cpu_sec": round(clips * inputs.planning_us_per_row / 1e6),
    }
    print(f"\nplanning all of them: {planning['memory_gb']} GB, {planning['cpu_sec']:,} s of CPU\n")
    result["planning"] = planning
    result["checks"] = []
    for check in checks(inputs):
        low, high = f"{check.low:,.4g}", f"{check.high:,.4g}"
        found = low if low == high else f"{low} to {high}"
        print(
            f"{check.what}: real {check.real:,.4g}, worked out {found}, {check.error:.0%} outside"
        )
        result["checks"].append(vars(check) | {"error": round(check.error, 3)})
    print(json.dumps(result))


if __name__ == "__main__":
    main()
