"""Whether actors find a place: on nodes that run, and before a job starts."""

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from actors.storage.places import Places
from rayjob.capacity.cluster import Resources
from rayjob.capacity.placement import Engines, check_places, gpu_types, running
from rayjob.capacity.pool import engine_pool
from rayjob.cli import app
from rayjob.run.graph import decode_pool
from schemas.config import DecodeConfig, EngineConfig
from schemas.errors import ConfigError
from schemas.media import StorageOptions
from tests.support.engines import omni_engine

CPU_NODE = {"CPU": 4.0, "memory": 9e9, "node:10.0.0.1": 1.0, "object_store_memory": 3e9}
GPU_NODE = {"CPU": 4.0, "GPU": 1.0, "accelerator_type:L4": 1.0, "memory": 7e9}
DECODE_NODE = CPU_NODE | {"decode": 4.0, "node:10.0.0.2": 1.0}
ENGINE = Engines(replicas=1, min_replicas=1, cpus=4, gpus=1)


def test_nodes_of_a_kind_are_told_by_what_they_offer() -> None:
    nodes = running(Resources((CPU_NODE, GPU_NODE, GPU_NODE | {"memory": 8e9}, DECODE_NODE)))
    assert [str(each) for each in nodes.types] == [
        "1 x (4 CPUs, 0 GPUs)", "2 x (4 CPUs, 1 GPU)", "1 x (4 CPUs, 0 GPUs)",
    ]  # fmt: skip
    (holding,) = check_places(nodes, engines=ENGINE, decode=DecodeConfig())
    assert (holding.count, gpu_types([holding])) == (2, {"L4"})


def test_decoders_go_where_their_resource_is() -> None:
    decode = DecodeConfig(node_resource="decode", cpus_per_actor=2)
    check_places(running(Resources((GPU_NODE, DECODE_NODE))), engines=ENGINE, decode=decode)
    for few in ({}, {"decode": 1.0}):
        nodes = running(Resources((GPU_NODE, CPU_NODE | few)))
        with pytest.raises(ConfigError, match="has 2 CPUs and 2 of decode for a decoder"):
            check_places(nodes, engines=ENGINE, decode=decode)


def test_by_default_decoders_take_what_is_theirs_alone_or_left() -> None:
    engine = EngineConfig(model="models/tiny-omni", device="cpu", cpus_per_engine=3)
    here = Resources((CPU_NODE, DECODE_NODE))
    pool = engine_pool(omni_engine(engine), here)
    actors = {
        name: decode_pool(
            DecodeConfig(node_resource=name),
            engines=pool,
            resources=here,
            storage=StorageOptions(),
            places=Places(folders=(), opened=()),
        ).actors
        for name in (None, "decode")
    }
    assert actors == {None: 5, "decode": 4}


def test_engines_that_take_every_cpu_leave_no_decoder() -> None:
    with pytest.raises(ConfigError, match="1 engine would leave no place for a decoder"):
        check_places(running(Resources((GPU_NODE,))), engines=ENGINE, decode=DecodeConfig())
    check_places(running(Resources((GPU_NODE,))), engines=ENGINE, decode=None)
    check_places(running(Resources((GPU_NODE, CPU_NODE))), engines=ENGINE, decode=DecodeConfig())


def dry_run(folder: Path, *settings: str) -> Result:
    (folder / "video.mp4").touch()
    words = ["--config", "configs/demo.yaml", "--input", str(folder), "--output", str(folder)]
    for each in settings:
        words += ["--set", each]
    return CliRunner().invoke(app, ["caption", "--dry-run", *words])


def test_a_resource_that_no_node_offers_is_found_before_the_start(tmp_path: Path) -> None:
    refused = dry_run(tmp_path, "decode.node_resource=decode")
    assert refused.exit_code == 2, refused.output
    assert "1 CPU and 1 of decode for a decoder" in " ".join(refused.stderr.split())
    # Nodes that are still to come may offer it.
    waits = dry_run(
        tmp_path, "decode.node_resource=decode", "engine.autoscale=true", "engine.engines=1"
    )
    assert waits.exit_code == 0, waits.stderr
