"""``rayjob plan``: the table in the docs, clusters that cannot hold a job, and costs."""

import contextlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from rayjob.capacity.cluster_file import read_cluster
from rayjob.capacity.placement import Nodes, NodeType, check_places, engines_asked
from rayjob.cli import app
from rayjob.output.summary import Cost, RunSummary
from schemas.config import DecodeConfig, EngineConfig
from schemas.errors import ConfigError
from tools import plan_page
from tools.plan_page import BEGIN, CONFIGURATIONS, END, PAGE

DOCS = Path("docs/plan.md").read_text()
OMNI = "openinterx/UGC-VideoCaptioner"


def plan(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


def rows(text: str) -> list[list[str]]:
    """Cells of a Markdown table, without its heading."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_in_the_docs_is_what_the_command_prints() -> None:
    (command,) = re.findall(r"^rayjob plan --best --markdown .*$", DOCS, re.MULTILINE)
    result = plan(*shlex.split(command)[2:])
    assert result.exit_code == 0, result.output
    printed = [line.rstrip() for line in result.stdout.strip().splitlines()]
    assert len(printed) == 2 + 4 * 4
    assert "\n".join(printed) in DOCS


@pytest.mark.vllm
def test_the_table_of_configurations_is_what_the_command_prints() -> None:
    """Needs transformers, which knows which layers of Gemma 3 have a window."""
    table = plan_page.page()
    assert PAGE.read_text("utf-8") == table, "run python -m tools.plan_page"
    found = rows(table.partition(BEGIN)[2].partition(END)[0])
    assert len({row[0] for row in found}) == len(CONFIGURATIONS)
    assert len(found) >= 3 * len(CONFIGURATIONS)


def test_the_module_is_the_command_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rayjob.plan", "--videos-per-sec", "2"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "1,000 videos: 0.139 GPU-hours" in done.stdout


def test_every_published_model_has_a_place_on_every_gpu() -> None:
    result = plan("--best", "--markdown", "--context-length", "8192")
    found = rows(result.stdout)
    assert len({row[0] for row in found}) == 4
    assert {row[1] for row in found} == {"24", "40", "80", "141"}
    assert {row[-1] for row in found} == {"best"}


def test_all_ways_are_shown_and_one_is_chosen() -> None:
    result = plan("--model", OMNI, "--gpu-memory-gb", "24,80", "--markdown")
    found = rows(result.stdout)
    assert [(row[1], row[2]) for row in found] == [
        (gpu, share) for gpu in ("24", "80") for share in ("0.25", "0.5", "1")
    ]
    assert [row[-1] for row in found].count("best") == 2
    assert found[0][7] == "does not fit"
    one = plan("--model", OMNI, "--gpu-memory-gb", "24", "--gpus-per-engine", "2", "--markdown")
    assert [row[2] for row in rows(one.stdout)] == ["2"]


def test_gpus_that_cannot_share_the_model_are_never_best() -> None:
    three = plan("--model", "Skywork/SkyCaptioner-V1", "--gpus-per-engine", "3", "--markdown")
    assert {(row[7], row[9], row[-1]) for row in rows(three.stdout)} == {
        ("cannot be split", "0", "")
    }


def test_a_job_is_planned_with_its_own_settings(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("engine: {model: models/tiny-omni, max_num_seqs: 8, gpu_memory_gb: 24}\n")
    result = plan("--config", job, "--markdown")
    assert [(row[0], row[1], row[7]) for row in rows(result.stdout)] == [
        ("models/tiny-omni", "24", "8")
    ] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no/such-model-at-all"], "Known without a network"),
        (["--gpu-memory-gb", "big"], "write sizes in GB"),
        (["--gpu-memory-gb", "24,nan"], "write sizes in GB"),
        (["--gpu-memory-gb", "inf"], "write sizes in GB"),
        (["--set", "engine.vllm_args.max_num_batched_tokens=lots"], "'lots' is not a number"),
        (["--set", "recipe.prompt_file=missing.txt"], "missing.txt cannot be read"),
        (["--set", "engine.vllm_args.gpu_memory_utilization=0.6"], "set engine.gpus_per_engine"),
        (["--config", "missing.yaml"], "cannot be read"),
        (["--cluster", "missing.yaml"], "cannot be read"),
        (["--gpus-per-engine", "1.5"], "a fraction up to 1 or a whole number"),
        (["--videos-per-sec", "0"], "above 0"),
        (["--videos-per-sec", "1", "--summary", "x"], "not by both"),
        (["--summary", "missing.json"], "cannot be read"),
    ],
)
def test_mistakes_have_exit_code_2(arguments: list[str], message: str) -> None:
    result = plan(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_the_job_itself_refuses_what_cannot_fit(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").touch()
    job = ["--config", "configs/demo.yaml", "--input", str(tmp_path), "--output", str(tmp_path)]
    sets = ["engine.device=gpu", "engine.engines=1", "engine.autoscale=true"]

    def dry_run(gpu_gb: int) -> Result:
        words = [
            word for each in (*sets, f"engine.gpu_memory_gb={gpu_gb}") for word in ("--set", each)
        ]
        return CliRunner().invoke(app, ["caption", "--dry-run", *job, *words])

    assert dry_run(24).exit_code == 0
    refused = dry_run(1)
    assert refused.exit_code == 2
    assert "models/tiny-omni does not fit a GPU of 1 GB" in " ".join(refused.stderr.split())


CLUSTER: dict[str, Any] = {
    "max_workers": 6,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "node_config": {}},
        "decode": {"resources": {"CPU": 8}, "node_config": {}, "max_workers": 4},
        "engine": {
            "resources": {"CPU": 8, "GPU": 2, "accelerator_type:L4": 2},
            "node_config": {},
            "max_workers": 3,
        },
    },
}


def check_cluster(nodes: Nodes, *, engine: EngineConfig, decode: DecodeConfig) -> list[NodeType]:
    return check_places(nodes, engines=engines_asked(engine, nodes), decode=decode)


def cluster_file(folder: Path, **changes: Any) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(CLUSTER | changes))
    return path


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"gpus_per_engine": 4}, r"no node type holds an engine with 4 GPUs"),
        ({"cpus_per_engine": 9}, r"no node type holds an engine with 1 GPU and 9 CPUs"),
        ({"engines": 7}, r"no place for 7 engines, it holds 6 at most"),
        # Four halves find GPUs on a node, but cores only for two.
        ({"engines": 7, "gpus_per_engine": 0.5, "cpus_per_engine": 4}, "holds 6 at most"),
        ({"device": "cpu", "cpus_per_engine": 16}, "no node type holds an engine with 16 CPUs"),
    ],
)
def test_a_job_that_no_node_holds(tmp_path: Path, engine: dict[str, Any], message: str) -> None:
    nodes = read_cluster(str(cluster_file(tmp_path)))
    with pytest.raises(ConfigError, match=message):
        check_cluster(nodes, engine=EngineConfig(**engine), decode=DecodeConfig())


def test_a_job_that_nodes_hold(tmp_path: Path) -> None:
    nodes = read_cluster(str(cluster_file(tmp_path)))
    for engine in ({"engines": 6}, {"engines": 12, "gpus_per_engine": 0.5}, {"gpus_per_engine": 2}):
        held = check_cluster(nodes, engine=EngineConfig(**engine), decode=DecodeConfig())
        assert [node.name for node in held] == ["engine"]
    with pytest.raises(ConfigError, match="9 CPUs for a decoder"):
        check_cluster(nodes, engine=EngineConfig(), decode=DecodeConfig(cpus_per_actor=9))


@pytest.mark.parametrize(
    ("engine", "changes", "held"),
    [
        # All nodes are engines', and all their cores too.
        ({"engines": 6, "cpus_per_engine": 4}, {"max_workers": 3}, False),
        ({"engines": 6, "cpus_per_engine": 4}, {"max_workers": 4}, True),
        # The last of the engines' nodes has half its cores left, or one core each.
        ({"engines": 5, "cpus_per_engine": 4}, {"max_workers": 3}, True),
        ({"engines": 6, "cpus_per_engine": 3.5}, {"max_workers": 3}, True),
        # The limit for all types together counts, too.
        ({"engines": 6}, {"max_workers": 2}, False),
    ],
)
def test_engines_leave_a_place_for_a_decoder(
    tmp_path: Path, engine: dict[str, Any], changes: dict[str, Any], held: bool
) -> None:
    nodes = read_cluster(str(cluster_file(tmp_path, **changes)))
    raises = pytest.raises(ConfigError, match=r"leave no place for a decoder|holds 4 at most")
    with contextlib.nullcontext() if held else raises:
        check_cluster(nodes, engine=EngineConfig(**engine), decode=DecodeConfig())


def test_a_head_with_cores_holds_the_decoders(tmp_path: Path) -> None:
    types = CLUSTER["available_node_types"] | {"head": {"resources": {"CPU": 1}, "node_config": {}}}
    path = cluster_file(tmp_path, available_node_types=types, max_workers=3)
    full = EngineConfig(engines=6, cpus_per_engine=4)
    check_cluster(read_cluster(str(path)), engine=full, decode=DecodeConfig())
    with pytest.raises(ConfigError, match="leave no place for a decoder"):
        check_cluster(read_cluster(str(path)), engine=full, decode=DecodeConfig(cpus_per_actor=1.5))


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ("max_workers: many", "max_workers"),
        (
            "available_node_types: {a: {resources: {CPU: x}}}",
            "available_node_types.a.resources.CPU",
        ),
        ("available_node_types: {a: {resources: {CPU: .nan}}}", "a.resources.CPU"),
        ("available_node_types: {a: {resources: {CPU: -1}}}", "a.resources.CPU"),
        ("available_node_types: {a: {resources: {CPU: 1}, max_workers: [1]}}", "a.max_workers"),
        ("available_node_types: {}", "available_node_types"),
    ],
)
def test_what_cannot_be_has_exit_code_2(tmp_path: Path, wrong: str, where: str) -> None:
    path = tmp_path / "cluster.yaml"
    types = "" if "types" in wrong else "available_node_types: {a: {resources: {CPU: 1}}}\n"
    path.write_text(f"{types}{wrong}\n")
    result = plan("--cluster", path)
    assert result.exit_code == 2, result.output
    assert f"{where}: " in " ".join(result.stderr.split())


def test_a_node_type_must_say_what_it_has(tmp_path: Path) -> None:
    types = CLUSTER["available_node_types"] | {"engine": {"resources": {}, "node_config": {}}}
    path = cluster_file(tmp_path, available_node_types=types)
    with pytest.raises(ConfigError, match="engine says nothing about its CPUs"):
        read_cluster(str(path))


def test_cluster_and_memory_are_checked_together(tmp_path: Path) -> None:
    path = cluster_file(tmp_path)
    fits = plan("--model", OMNI, "--cluster", path, "--markdown")
    assert fits.exit_code == 0, fits.stderr
    assert "holds the job; " in fits.stdout
    assert "CPUs for an engine, of which " in fits.stdout
    # The size of the GPUs is taken from the node type's accelerator.
    assert {row[1] for row in rows(fits.stdout)} == {"24"}
    small = plan("--model", OMNI, "--cluster", path, "--gpus-per-engine", "0.5")
    assert small.exit_code == 2
    assert "does not fit 0.5 of a GPU of 24 GB" in " ".join(small.stderr.split())
    none = plan("--model", OMNI, "--cluster", path, "--gpus-per-engine", "4")
    assert none.exit_code == 2
    assert "no node type holds an engine with 4 GPUs" in " ".join(none.stderr.split())


def test_the_cluster_of_the_repository_holds_its_job() -> None:
    result = plan("--config", "deploy/job.yaml", "--cluster", "cluster.yaml")
    assert result.exit_code == 0, result.stderr


def test_cost_of_a_thousand_videos(tmp_path: Path) -> None:
    result = plan("--model", OMNI, "--videos-per-sec", "2", "--price-per-gpu-hour", "3.6")
    assert "1,000 videos: 0.139 GPU-hours, 0.50 at 3.6 per GPU-hour" in result.stdout

    def summary(gpu_hours: float) -> Path:
        path = tmp_path / "summary.json"
        run = RunSummary(
            run_id="r", videos_in=200, videos_captioned=200, videos_failed=0, videos_skipped=0,
            captions=200, wall_sec=60, videos_per_sec=3.3, video_hours_per_hour=1,
            prompt_tokens=1, output_tokens=1, engine_busy_fraction=1, failures_by_error={},
            cost=Cost(gpu_hours=gpu_hours),
        )  # fmt: skip
        path.write_text(run.to_line())
        return path

    measured = plan("--model", OMNI, "--summary", summary(0.5), "--price-per-gpu-hour", "2")
    assert "1,000 videos: 2.500 GPU-hours, 5.00 at 2 per GPU-hour" in measured.stdout
    assert plan("--model", OMNI, "--summary", summary(0.0)).exit_code == 2
