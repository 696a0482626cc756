"""A driver that reads a manifest through the graph, and prints the node of every reader."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from rayjob.inputs.todo import Portion
from rayjob.output.store import TableStore
from rayjob.run import graph
from schemas.blocks import INPUTS

GROUPS = 16


class Noting(TableStore):
    """Leaves a file beside the manifest for each time that it is opened."""

    def open_parquet(self, path: str, **options: Any) -> Any:
        node = ray.get_runtime_context().get_node_id()
        folder = Path(self.root)
        (folder / f"{node}-{len(list(folder.glob('*.opened')))}.opened").touch()
        return super().open_parquet(path, **options)


def main(where: str) -> None:
    folder = Path(where)
    ray.init(log_to_driver=False)
    rows = [
        {name: None for name in INPUTS.names}
        | {"video_id": f"{n}.mp4", "uri": f"{n}.mp4", "attempts": 0}
        for n in range(GROUPS)
    ]
    path = folder / "manifest.parquet"
    pq.write_table(pa.Table.from_pylist(rows, INPUTS), path, row_group_size=1)
    todo = [Portion(path.name, group, 0, 1) for group in range(GROUPS)]
    dataset = graph._read(todo, Noting(folder), batch_size=1)
    read = sum(block.num_rows for block in graph.blocks(dataset))
    names = {node["NodeID"]: node["NodeName"] for node in ray.nodes()}
    seen = {names[found.name.split("-")[0]] for found in folder.glob("*.opened")}
    print(json.dumps({"read": read, "nodes": sorted(seen)}))
