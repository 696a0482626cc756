"""What it takes to see what is left to do: ``python -m benchmarks.planning --rows 10000000``.

An output of so many captions in shards of 50,000, and a manifest of a tenth more; then what
``rayjob caption --dry-run`` reads of both. The last line is JSON. Seconds of CPU, of all threads.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rayjob.inputs.todo import plan_todo
from rayjob.run.prepare import prepare
from rayjob.settings.loading import read_config
from schemas.config import JobConfig
from schemas.tables import CAPTIONS

_SHARD = 50_000
_VALUES = {
    pa.int32(): 1,
    pa.float64(): 1.0,
    pa.bool_(): True,
    pa.timestamp("us", tz="UTC"): 0,
    pa.string(): "ok",
}


def _ids(begin: int, end: int) -> pa.Array:
    numbers = pc.utf8_lpad(pa.array(np.arange(begin, end)).cast(pa.string()), 9, "0")
    return pc.binary_join_element_wise("v", numbers, ".mp4", "")


def _uris(ids: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise("s3://bucket/videos/", ids, "")


def _steps(rows: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, rows, _SHARD):
        yield begin, min(rows, begin + _SHARD)


def write(rows: int, folder: Path) -> None:
    """Write the manifest and the output of an earlier run."""
    names = ["uri", "video_id"]
    with pq.ParquetWriter(
        folder / "manifest.parquet", pa.schema(dict.fromkeys(names, "string"))
    ) as manifest:
        for begin, end in _steps(rows + rows // 10):
            ids = _ids(begin, end)
            manifest.write_table(pa.table([_uris(ids), ids], names=names))
    shards = folder / "out/captions/recipe=omni/run_id=run-x"
    shards.mkdir(parents=True)
    for number, (begin, end) in enumerate(_steps(rows)):
        ids = _ids(begin, end)
        known = {"video_id": ids, "uri": _uris(ids)}
        columns = [
            known.get(field.name, pa.nulls(len(ids), field.type))
            if field.nullable or field.name in known
            else pa.repeat(pa.scalar(_VALUES[field.type], field.type), len(ids))
            for field in CAPTIONS
        ]
        path = shards / f"part-{number:05d}-epoch0001.parquet"
        pq.write_table(pa.table(columns, schema=CAPTIONS), path, compression="zstd")


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as work:
        # In a process of its own, whose memory does not count.
        writer = multiprocessing.get_context("spawn").Process(target=write, args=(rows, Path(work)))
        writer.start()
        writer.join()
        config = read_config(
            JobConfig,
            "configs/demo.yaml",
            assignments=["name=omni", "mixed=true"],
            flags={"input": [f"{work}/manifest.parquet"], "output": f"{work}/out"},
        )
        prepared = prepare(config)
        began, wall = time.process_time(), time.monotonic()
        earlier = prepared.earlier()
        read = time.process_time()
        todo = plan_todo(prepared.listed(), earlier)
        cpu = time.process_time()
    assert (todo.todo, todo.skipped) == (rows // 10, rows)
    result = {
        "rows": rows,
        "output_cpu_sec": round(read - began, 1),
        "inputs_cpu_sec": round(cpu - read, 1),
        "wall_sec": round(time.monotonic() - wall, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
